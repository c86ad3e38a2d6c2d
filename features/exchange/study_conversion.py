"""A study's features to another tool's layout, or a tool's to ours, with tables and status: all that convert_features.py does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from common.cohort import Cohort, read_cohort
from common.failures import SlideError, SlideStatus, StudyError, failed, failure_table, write_status
from common.guards.names import nearest
from common.guards.one_at_a_time import alone
from common.study import Study, as_study, open_study
from features.exchange.conversion import STEP, ConversionConfig, convert_folder, with_scale
from features.exchange.folder import FeatureFolder, open_folder, scale_of_table, scale_of_tile_files
from features.exchange.layout_tables import write_tables


@dataclass(frozen=True, kw_only=True)
class StudyConversion:
    """What a conversion left, and what became of each slide."""

    layout: str
    out: Path
    statuses: tuple[SlideStatus, ...]
    tables: tuple[Path, ...]  # that the tool wants of the cohort

    @property
    def status_file(self) -> Path:
        """The table of statuses."""
        return self.out / "status.csv"

    @property
    def summary(self) -> str:
        """The tables, the failures or how much was converted, and where the statuses are; for the screen."""
        n_done = sum(row.state == "done" for row in self.statuses)
        lines = [f"{self.layout}'s table of the cohort: {table}" for table in self.tables]
        lines.append(failure_table(self.statuses) or f"{n_done} slides in the layout of {self.layout}: {self.out}")
        return "\n".join([*lines, f"status of each: {self.status_file}"])


def convert_study(study: Path | Study, config: ConversionConfig) -> StudyConversion:
    """Convert the features of a study, or of `config.features`; what is whole and was made alike is kept.

    Args:
        study: the folder; `config.study` is not looked at. With `config.features` it need not be there.
        config: the settings.

    Raises:
        StudyError: no layout or folder is given, there are no features, they were made in different ways, or another
            run writes to the same folder.
    """
    study = as_study(study) if config.features is not None else open_study(study)
    if config.to is None or config.out is None:
        raise StudyError("give the layout with --to and the folder to write to with --out")
    if config.features is None and not study.features(config.encoder).is_dir():
        near = nearest(config.encoder, study.embedded_encoders())
        raise StudyError(
            f"no folder {study.features(config.encoder)}{near}; make features first: python features/extract_features.py "
            f"--study {study.root} --encoder {config.encoder}"
        )
    cohort = read_cohort(study.cohort_table) if study.cohort_table.is_file() else None
    source = config.features or study.features(config.encoder)
    folder = _with_known_scales(open_folder(source, coordinates=config.coordinates), study, cohort)
    missing = _without_features(cohort, folder) if config.features is None else []
    with alone(config.out, "features", what="convert_features.py"):
        statuses = convert_folder(with_scale(folder, config.mpp), config.out, config.to) + missing
        write_status(config.out / "status.csv", statuses)
        done = {row.slide_id for row in statuses if row.state == "done"}
        tables = [] if cohort is None else write_tables(config.out, config.to, cohort, done)
    return StudyConversion(layout=config.to, out=config.out, statuses=tuple(statuses), tables=tuple(tables))


def _with_known_scales(folder: FeatureFolder, study: Study, cohort: Cohort | None) -> FeatureFolder:
    """Return the folder with every scale the study knows; a tile file knows better than the table."""
    mpp_of = {} if cohort is None else scale_of_table(cohort)
    return replace(folder, mpp_of=mpp_of | scale_of_tile_files(study.tiles, folder.files))


def _without_features(cohort: Cohort | None, folder: FeatureFolder) -> list[SlideStatus]:
    """Return the statuses of the table's slides that have no features."""
    slide_ids = [] if cohort is None else [str(row["slide_id"]) for row in cohort.rows]
    error = SlideError("it has no feature file", "see status.csv of features/extract_features.py")
    return [failed(slide_id, STEP, error) for slide_id in slide_ids if slide_id not in folder.files]
