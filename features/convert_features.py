"""Write features in the layout of CLAM, TRIDENT, STAMP or slideflow, or take theirs over (--to own).

From the study's own feature files, or with --features from a folder of any of these tools. Leaves the files as the tool
names them, the tables it wants of the cohort, provenance/<slide>.json with all that the layout has no place for (encoder,
licence, scale, checksums), and status.csv. The way back is exact.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import SlideError, SlideStatus, StudyError, command, exit_code, failed, failure_table, write_status
from common.settings import parse_config
from common.study import Study, open_study
from features.exchange.conversion import STEP, ConversionConfig, convert_folder, with_scale
from features.exchange.folder import FeatureFolder, open_folder, scale_of_table, scale_of_tile_files

if TYPE_CHECKING:
    from common.cohort import Cohort


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Convert and say what became of each slide."""
    config = parse_config(ConversionConfig, argv, section="convert_features", description=__doc__)
    study = Study(config.study) if config.features is not None else open_study(config.study)
    if config.to is None or config.out is None:
        raise StudyError("give the layout with --to and the folder to write to with --out")
    if config.features is None and not study.features(config.encoder).is_dir():
        raise StudyError(
            f"no folder {study.features(config.encoder)}; make features first: python features/extract_features.py "
            f"--study {study.root} --encoder {config.encoder}"
        )
    cohort = _cohort(study)
    folder, missing = _folder(config, study, cohort)
    statuses = convert_folder(with_scale(folder, config.mpp), config.out, config.to) + missing
    write_status(config.out / "status.csv", statuses)
    n_done = sum(row.state == "done" for row in statuses)
    if cohort is not None:
        from features.exchange.layout_tables import write_tables

        for table in write_tables(config.out, config.to, cohort, {r.slide_id for r in statuses if r.state == "done"}):
            print(f"{config.to}'s table of the cohort: {table}")
    print(failure_table(statuses) or f"{n_done} slides in the layout of {config.to}: {config.out}")
    print(f"status of each: {config.out / 'status.csv'}")
    return exit_code(statuses)


def _cohort(study: Study) -> Cohort | None:
    if not study.cohort_table.is_file():
        return None
    from common.cohort import read_cohort

    return read_cohort(study.cohort_table)


def _folder(config: ConversionConfig, study: Study, cohort: Cohort | None) -> tuple[FeatureFolder, list[SlideStatus]]:
    """Return the folder with every scale the study knows, and the table's slides that have no features."""
    source = config.features or study.features(config.encoder)
    found = open_folder(source, coordinates=config.coordinates)
    mpp_of: dict[str, tuple[float, float]] = {}
    missing: list[SlideStatus] = []
    if cohort is not None:
        mpp_of = scale_of_table(cohort)
        if config.features is None:
            error = SlideError("it has no feature file", "see status.csv of features/extract_features.py")
            missing = [failed(name, STEP, error) for name in cohort.slides["slide_id"] if name not in found.files]
    mpp_of |= scale_of_tile_files(study.tiles, found.files)
    return FeatureFolder(root=source, files=found.files, mpp_of=mpp_of, coordinates=found.coordinates), missing


if __name__ == "__main__":
    sys.exit(main())
