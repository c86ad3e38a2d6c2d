"""Which mask image belongs to which slide, by names that tools give, and which masks and outlines belong to none."""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError
from common.slide_files import DICOM_ENDING, SLIDE_ENDINGS
from common.unread_files import one_spelling

MASK_ENDINGS = (".png", ".tif", ".tiff")  # in the order of preference
OUTLINE_ENDINGS = (".geojson", ".json")
OF_OTHER_TOOLS = re.compile(r"[._-]mask(_use)?$", re.IGNORECASE)  # slide.svs_mask_use.png of HistoQC, slide_mask.png


@dataclass(frozen=True)
class MatchedMasks:
    """Mask image of each slide that has one, and the names of the files that are of no slide."""

    of_slide: dict[str, Path]
    of_none: tuple[str, ...]


def match_masks(folder: Path, slide_ids: AbstractSet[str]) -> MatchedMasks:
    """Match the files of a folder of masks to slides.

    Raises:
        StudyError: two files with names of other tools are of one slide.
    """
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    exact: dict[str, list[Path]] = {}
    derived: dict[str, list[Path]] = {}
    of_none = []
    spelled = {one_spelling(slide_id): slide_id for slide_id in sorted(slide_ids)}
    for file in files:
        is_image = file.suffix.lower() in MASK_ENDINGS
        slide_id = _slide_of(file.stem, spelled) if is_image else None
        if slide_id is None:
            of_none.append(file.name)
        else:
            (exact if one_spelling(file.stem) == one_spelling(slide_id) else derived).setdefault(slide_id, []).append(
                file
            )
    of_slide = {name: min(found, key=_preference) for name, found in exact.items()}
    for slide_id, found in derived.items():
        if slide_id not in exact and len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise StudyError(f"{folder}: {names} are masks of one slide; keep one of them, or name it {slide_id}.png")
        of_slide.setdefault(slide_id, found[0])
    return MatchedMasks(of_slide, tuple(of_none))


def outlines_of_none(folder: Path, slide_ids: AbstractSet[str]) -> tuple[str, ...]:
    """Return the names of outlines in a folder that are of no slide, or that have not the ending that is read."""
    if not folder.is_dir():
        return ()
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in OUTLINE_ENDINGS)
    spelled = {one_spelling(slide_id) for slide_id in slide_ids - {file.stem for file in files}}
    return tuple(
        file.name
        + (" (only its spelling differs: letters of several signs)" if one_spelling(file.stem) in spelled else "")
        for file in files
        if file.suffix != OUTLINE_ENDINGS[0] or file.stem not in slide_ids
    )


def notes_on(masks: Sequence[str], outlines: Sequence[str]) -> tuple[str, ...]:
    """Return a line on masks and one on outlines that are of no slide; none where there are none."""
    lines = []
    if masks:
        lines.append(
            f"{len(masks)} file(s) among the masks match no slide (wanted <slide>.png or .tif): {_some(masks)}"
        )
    if outlines:
        lines.append(f"{len(outlines)} outline(s) match no slide (wanted <slide>.geojson): {_some(outlines)}")
    return tuple(lines)


def _slide_of(stem: str, slide_ids: Mapping[str, str]) -> str | None:
    """Return the slide that a mask's name without ending names, or None; `slide_ids` by their one spelling."""
    plain = OF_OTHER_TOOLS.sub("", stem)
    for name in (one_spelling(stem), one_spelling(plain)):
        if name in slide_ids:
            return slide_ids[name]
        before, dot, ending = name.rpartition(".")
        if dot + ending.lower() in SLIDE_ENDINGS | {DICOM_ENDING} and before in slide_ids:
            return slide_ids[before]
    return None


def _preference(file: Path) -> tuple[int, str]:
    return MASK_ENDINGS.index(file.suffix.lower()), file.name


def _some(names: Iterable[str], most: int = 5) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
