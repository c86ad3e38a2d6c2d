"""The steps of a study, in their order: what each is called with, what it reads and leaves, and why one is left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.cluster.cluster_settings import OF_CLUSTER
from common.settings import SECTIONS, SETTINGS_FILE, parse_config, read_settings, settings_of
from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig
from mil.explanation.settings import ExplainConfig
from mil.runs.run_folder import RunFolder
from mil.training.training_settings import TrainConfig
from preprocessing.tiling.tiling_settings import TilingConfig
from sarcoma_mil.steps import STEPS
from sarcoma_mil.whole.table_tasks import TableTask
from splits.split_settings import SplitConfig


@dataclass(frozen=True, kw_only=True)
class StudyStep:
    """A step of a study.

    Attributes:
        name: with its task, as it is told and stamped.
        word: of the command.
        flags: beside those of the settings file.
        reads: files and folders that decide its result.
        leaves: files and folders that nobody may have changed since, or the step is due again.
        is_there: files that must be there, whatever is in them.
        settings: of the step, as the settings file has them.
        why_not: why it is left out; "" where it is done.
        is_of_owner: whether what is there without a stamp was made by its owner, and stays.
    """

    name: str
    word: str
    flags: tuple[str, ...]
    reads: tuple[Path, ...] = ()
    leaves: tuple[Path, ...] = ()
    is_there: tuple[Path, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    why_not: str = ""
    is_of_owner: bool = False

    @property
    def title(self) -> str:
        """The step and its task, for the screen."""
        return " ".join(self.name.split(" ")[:2])


@dataclass(frozen=True)
class StudySettings:
    """The settings of the steps, as study.yaml has them: a fault in any is found before hours of work."""

    study: Study
    tiling: TilingConfig
    extraction: ExtractionConfig
    splits: SplitConfig
    train: TrainConfig
    explain: ExplainConfig
    of_study: dict[str, Any]  # columns, tasks, unit ...
    given: dict[str, Any]  # what stands in the file, by section

    @property
    def encoder(self) -> str:
        """The encoder that is trained on: the one of train, or the first that is embedded by."""
        is_named = "encoder" in (self.given.get("train") or {})
        return self.train.encoder if is_named else self.extraction.encoders[0]

    @property
    def features(self) -> Path:
        """The folder of features that is trained on."""
        return self.study.features(self.encoder) if self.train.features is None else self.train.features

    @property
    def table(self) -> Path:
        """The clinical table."""
        return self.study.cohort_table


def study_settings(study: Study) -> StudySettings:
    """Read the settings of all steps.

    Raises:
        StudyError: the settings file has a fault.
    """
    content = read_settings(study.root / SETTINGS_FILE)
    known = content if isinstance(content, dict) else {}

    def own(word: str) -> Any:
        step = STEPS[word]
        return parse_config(
            step.config_class(), ["--study", str(study.root)], section=step.section, description=step.what
        )

    return StudySettings(
        study, own("tile"), own("features"), own("splits"), own("train"), own("explain"),
        of_study={key: value for key, value in known.items() if key not in SECTIONS - {"columns"}}, given=known,
    )  # fmt: skip


def has_slides(study: Study) -> bool:
    """Return whether anything lies in the folder of slides."""
    return study.slides.is_dir() and any(not path.name.startswith(".") for path in study.slides.iterdir())


def tiling_step(own: StudySettings) -> StudyStep:
    """Return the step from slides to tiles."""
    study, why_not = own.study, ""
    if own.extraction.tiles is not None:
        why_not = f"features come from the images of {own.extraction.tiles}"
    elif not has_slides(study) and any(own.features.glob("*")):
        why_not = "no slides are here, and features are"
    return StudyStep(
        name="tile", word="tile", flags=_study(study), settings=_of(own, own.tiling), why_not=why_not,
        reads=(own.table, study.slides, study.masks, *_files_of(own.tiling)),
        leaves=(*_tiles(study), *_outlines(study), study.previews, study.status_file), is_there=(study.contact_sheet,),
    )  # fmt: skip


def embedding_step(own: StudySettings) -> StudyStep:
    """Return the step from tiles, or images of a table, to embeddings."""
    study, is_of_slides = own.study, own.extraction.tiles is None
    is_taken_over = is_of_slides and not has_slides(study) and any(own.features.glob("*"))
    folders = [study.features(name) for name in own.extraction.encoders]
    return StudyStep(
        name="features", word="features", flags=_study(study), settings=_of(own, own.extraction),
        why_not=f"they are in {own.features}, made elsewhere" if is_taken_over or own.train.features else "",
        reads=(own.table, study.slides, *_tiles(study), *_files_of(own.extraction)),
        leaves=tuple(folders), is_there=tuple(folder / "status.csv" for folder in folders),
    )  # fmt: skip


def splits_step(own: StudySettings) -> StudyStep:
    """Return the step from patients to folds."""
    path = own.study.splits_file(own.splits.name)
    return StudyStep(
        name="splits", word="splits", flags=_study(own.study), settings=_of(own, own.splits), reads=(own.table,),
        leaves=(path, path.with_suffix(".json")), is_there=(path,), is_of_owner=True,
    )  # fmt: skip


def training_step(own: StudySettings, task: TableTask) -> StudyStep:
    """Return the training of a task, with its report."""
    study, run = own.study, run_folder(own, task)
    flags = [*_study(study), *([] if task.is_of_settings else ["--task", task.name])]
    if own.train.features is None and own.encoder != own.train.encoder:
        flags += ["--encoder", own.encoder]
    return StudyStep(
        name=f"train {task.name} {task.run}", word="train", flags=tuple(flags), settings=_of(own, own.train),
        why_not=task.why_not,
        reads=(own.table, study.splits_file(own.train.splits), own.features, study.status_file, *_files_of(own.train)),
        leaves=(run.models, run.predictions, run.facts, run.model), is_there=(run.report, run.metrics),
    )  # fmt: skip


def explaining_step(own: StudySettings, task: TableTask) -> StudyStep:
    """Return the maps of a trained task."""
    study, run = own.study, run_folder(own, task)
    out = own.explain.out or run.explanation
    return StudyStep(
        name=f"explain {task.name} {task.run}", word="explain",
        flags=(*_study(study), "--task", task.name, "--name", task.run), settings=_of(own, own.explain),
        reads=(run.model, run.predictions, own.features, study.slides, *_tiles(study), *_files_of(own.explain)),
        leaves=(out,), is_there=(out / "index.html",),
    )  # fmt: skip


def run_folder(own: StudySettings, task: TableTask) -> RunFolder:
    """Return the folder of a task's run."""
    return RunFolder(own.study.run(task.name, task.run))


def _study(study: Study) -> tuple[str, ...]:
    return ("--study", str(study.root))


def _of(own: StudySettings, config: Any) -> dict[str, Any]:
    return {**settings_of(config, without=("study", "workers", "timeout_s", *OF_CLUSTER)), **own.of_study}


def _files_of(config: Any) -> Iterator[Path]:
    """Yield the files and folders that settings name; a result is written to out, and the study has its own."""
    for name, value in settings_of(config, without=("study", "out")).items():
        if value is not None and isinstance(getattr(config, name), Path):
            yield Path(str(value))


def _tiles(study: Study) -> Sequence[Path]:
    return sorted(study.tiles.glob("*.h5"))


def _outlines(study: Study) -> Iterable[Path]:
    return sorted(study.tiles.glob("*.geojson"))
