"""What opens a slide file: an ordered table of readers.

A new format is one entry here, one class that keeps the contract, and its ending in common/slide_files.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.failures import SlideError
from common.slide_files import DICOM_ENDING, dicom_series
from common.unread_files import unlike_its_name
from preprocessing.reading.flat_dicom import FlatDicom, largest_instance, wrong_colours
from preprocessing.reading.flat_picture import PICTURE_ENDINGS, FlatPicture
from preprocessing.reading.flat_tiff import TIFF_ENDINGS, FlatTiff, first_look
from preprocessing.reading.handle import SlideHandle
from preprocessing.reading.openslide_handle import GENERIC_TIFF, TAGGED, UNKNOWN_REMEDY, OpenSlideHandle, WithSubLevels
from preprocessing.reading.upright import upright


@dataclass(frozen=True)
class Opener:
    """A way to open a slide: its name, which paths it tries, and how; it raises a SlideError where it cannot."""

    name: str
    takes: Callable[[Path], bool]
    open: Callable[[Path], SlideHandle]


def open_handle(path: Path) -> SlideHandle:
    """Open a slide file, or the folder of a DICOM series (any of its files opens all; the largest is taken).

    Raises:
        SlideError: nothing here knows the file, or it is damaged; the message has what each reader said.
    """
    refusals: list[SlideError] = []
    for opener in OPENERS:
        if opener.takes(path):
            try:
                return opener.open(path)
            except SlideError as refusal:
                refusals.append(refusal)
    if not refusals:
        raise unlike_its_name(path) or SlideError(f"{path.name} is of no format that is read", UNKNOWN_REMEDY)
    if (other := unlike_its_name(path)) is not None:
        refusals.append(other)
    if len(refusals) == 1:
        raise refusals[0]
    reasons = dict.fromkeys(refusal.reason for refusal in refusals)
    raise SlideError("; ".join(reasons), refusals[-1].remedy) from refusals[-1]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_ENDINGS and not path.is_dir()


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in TIFF_ENDINGS and not path.is_dir()


def _is_dicom(path: Path) -> bool:
    return path.suffix.lower() == DICOM_ENDING or path.is_dir()


def _dicom_files(path: Path) -> Sequence[Path]:
    """Return the files of a series, or the one file."""
    if not path.is_dir():
        return [path]
    files = sorted(
        file for file in path.iterdir() if file.suffix.lower() == DICOM_ENDING and not file.name.startswith(".")
    )
    if not files:
        raise SlideError(f"{path.name} is a folder without {DICOM_ENDING} files", UNKNOWN_REMEDY)
    return files


def _with_openslide(path: Path) -> SlideHandle:
    file = max(_dicom_files(path), key=lambda file: file.stat().st_size) if path.is_dir() else path
    handle = OpenSlideHandle(file)
    if handle.vendor in TAGGED:
        try:
            look = first_look(file)
        except SlideError:
            handle.close()
            raise
        # its decoder turns every tile in its place (scanners' own formats are always upright), and takes the first page,
        # where converters may keep the macro
        is_larger = math.prod(look.largest_px) > math.prod(handle.dimensions)
        if handle.vendor == GENERIC_TIFF and (look.orientation != 1 or is_larger or look.is_misread):
            handle.close()
            return _as_flat_tiff(file)
        if handle.vendor == GENERIC_TIFF and look.has_sub_levels and len(handle.level_dimensions) == 1:
            return _with_sub_levels(file, handle)
    if handle.vendor == "dicom":
        return _in_true_colours(path, handle)
    return handle


def _with_sub_levels(file: Path, handle: OpenSlideHandle) -> SlideHandle:
    try:
        levels = FlatTiff(file)
    except SlideError:
        return handle  # the slide itself is read all the same
    return WithSubLevels(handle, levels)


def _in_true_colours(path: Path, handle: OpenSlideHandle) -> SlideHandle:
    """Return what decodes DICOM frames by their own colours, where the header declares others; else the handle itself."""
    if wrong_colours(largest_instance(_dicom_files(path))) is None:
        return handle
    handle.close()
    files = _dicom_files(path)
    if not path.is_dir():  # OpenSlide finds the largest beside any level, too
        files = next(series for _, series in dicom_series(_dicom_files(path.parent)) if path in series)
    return FlatDicom(largest_instance(files))


def _as_flat_dicom(path: Path) -> SlideHandle:
    return FlatDicom(largest_instance(_dicom_files(path)))


def _as_flat_tiff(path: Path) -> SlideHandle:
    tiff = FlatTiff(path)
    return upright(tiff, tiff.stored_orientation)


OPENERS = (  # tried in this order; the first that opens the path is it
    Opener("picture", _is_picture, FlatPicture),
    Opener("openslide", lambda path: not _is_picture(path), _with_openslide),
    Opener("flat DICOM", _is_dicom, _as_flat_dicom),
    Opener("flat TIFF", _is_tiff, _as_flat_tiff),
)
