"""A study folder begun: settings, a table to fill in, and the slides' place. What is there is never written over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError
from common.files import write_text, writing
from common.settings import SETTINGS_FILE, option
from common.slide_files import SLIDE_ENDINGS, find_slides
from common.study import Study
from sarcoma_mil.beginning.sample_table import is_examples, write_sample
from sarcoma_mil.beginning.settings_file import settings_text


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """The settings of init."""

    study: Path = option(Path("study"), help="study folder to make, or to fill up", group="study")
    slides: Path | None = option(
        None, help="folder where your slides lie: slides/ becomes a link to it, and nothing is copied", group="study"
    )


@dataclass(frozen=True, kw_only=True)
class NewStudy:
    """What was made, and what was there and stays."""

    study: Study
    made: tuple[str, ...]
    kept: tuple[str, ...]
    slide_ids: tuple[str, ...]
    has_examples: bool  # the table is still that of examples
    strays: tuple[str, ...]  # slides that lie in the study folder itself, where no step looks


def begin_study(config: InitConfig) -> NewStudy:
    """Make what a study begins with, where it is missing.

    Raises:
        StudyError: --slides is no folder, or the study has other slides already; a table has two files.
    """
    study = Study(config.study)
    if study.root.exists() and not study.root.is_dir():
        raise StudyError(f"{study.root} is a file; name a folder with --study DIR")
    made: list[str] = []
    kept: list[str] = []
    with writing(study.root):
        study.root.mkdir(parents=True, exist_ok=True)
    for is_new, name in (_slides_folder(study, config.slides), _settings(study)):
        (made if is_new else kept).append(name)
    slide_ids = _slide_ids(study.slides)
    table = study.cohort_table
    is_new = not table.exists() or (bool(slide_ids) and is_examples(table))  # in examples nothing of anybody is lost
    if is_new:
        write_sample(table, slide_ids)
    (made if is_new else kept).append(table.name)
    return NewStudy(
        study=study, made=tuple(made), kept=tuple(kept), slide_ids=tuple(slide_ids), has_examples=is_examples(table),
        strays=tuple(_strays(study.root)),
    )  # fmt: skip


def _slides_folder(study: Study, slides: Path | None) -> tuple[bool, str]:
    """Make slides/, as a folder or as a link to one; returns whether it was made, and its name."""
    if slides is not None and not slides.is_dir():
        raise StudyError(f"--slides {slides}: no such folder; name the one where your slides lie")
    if study.slides.is_dir():
        is_empty_folder = not study.slides.is_symlink() and not any(study.slides.iterdir())
        if slides is None or study.slides.samefile(slides):
            return False, "slides/"
        if not is_empty_folder:
            raise StudyError(
                f"{study.slides} is there already, and is not {slides}; leave --slides out, or move it away"
            )
        study.slides.rmdir()
    with writing(study.slides):
        if slides is None:
            study.slides.mkdir()
            return True, "slides/"
        study.slides.symlink_to(slides.resolve(), target_is_directory=True)
    return True, f"slides/ (a link to {slides.resolve()})"


def _settings(study: Study) -> tuple[bool, str]:
    path = study.root / SETTINGS_FILE
    if not path.exists():
        write_text(path, settings_text())
        return True, SETTINGS_FILE
    return False, SETTINGS_FILE


def _slide_ids(folder: Path) -> Sequence[str]:
    """Return the slides of a folder; none where nothing lies there yet."""
    if not any(path for path in folder.iterdir() if not path.name.startswith(".")):
        return ()
    return list(find_slides(folder))


def _strays(root: Path) -> list[str]:
    """Return the slides that lie beside slides/ instead of in it."""
    return sorted(path.name for path in root.iterdir() if path.is_file() and path.suffix.lower() in SLIDE_ENDINGS)
