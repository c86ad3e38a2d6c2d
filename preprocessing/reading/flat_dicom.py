"""DICOM whole-slide files that OpenSlide refuses, in its shape: one level, decoded frame by frame.

For example grey of 16 bits, JPEG-LS, RLE, JPEG 2000 in high throughput, or a header without ImageType. Frames lie where
their positions say (TILED_SPARSE; what has none was never scanned) or row by row (TILED_FULL; PS3.3 C.7.6.17.3).
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from cachetools import LRUCache, cachedmethod
from jaxtyping import Int64, UInt8

from common.failures import SlideError
from common.files import pass_disk_fault
from preprocessing.reading.dicom_frames import FrameKind, frame_kind, frame_spans, read_frame
from preprocessing.reading.flat_picture import MAX_WHOLE_PX, RECOPY_REMEDY, overlap
from preprocessing.reading.flat_tiff import CACHE_BYTES, HEADER_BYTES
from preprocessing.reading.jpeg_colours import colours_of_jpeg
from preprocessing.reading.scale import MPP_PROPERTIES

if TYPE_CHECKING:
    from PIL.Image import Image

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
BESIDE_THE_SLIDE = frozenset({"LABEL", "OVERVIEW"})
JPEG_8_BIT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")  # transfer syntaxes
CONVERT_REMEDY = "convert it to 8-bit RGB DICOM (JPEG) or tiled TIFF"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Size of the image, where frames lie in the file (bytes) and on the image (left and top), and the scale."""

    dimensions: tuple[int, int]
    kind: FrameKind
    spans: Sequence[tuple[int, int]]
    corners: Int64[np.ndarray, "frame 2"]
    properties: Mapping[str, str]
    remarks: tuple[str, ...]


class FlatDicom:
    """One instance of a DICOM series."""

    reader, orientation = "pydicom", 1

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            state = path.stat()
            self._layout = _layout(path, state.st_size, state.st_mtime_ns)
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            pass_disk_fault(error)
            raise SlideError(f"{path.name} cannot be opened ({error})", RECOPY_REMEDY) from error
        self.dimensions, self.properties = self._layout.dimensions, self._layout.properties
        self.remarks: tuple[str, ...] = self._layout.remarks
        self.level_dimensions, self.level_downsamples = (self.dimensions,), (1.0,)
        self._frame_px = (self._layout.kind.width, self._layout.kind.height)
        n_kept = max(1, CACHE_BYTES // (3 * math.prod(self._frame_px)))
        self._frames: LRUCache[Any, UInt8[np.ndarray, "h w 3"]] = LRUCache(n_kept)

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of a frame."""
        assert level == 0
        return self._frame_px

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of the area; what lies off the image or was never scanned is transparent."""
        from PIL.Image import fromarray

        assert level == 0
        canvas = np.zeros((size[1], size[0], 4), np.uint8)
        x0, y0, x1, y1 = overlap(origin, size, self.dimensions)
        lefts, tops = self._layout.corners.T
        width, height = self._frame_px
        is_inside = (lefts < x1) & (lefts + width > x0) & (tops < y1) & (tops + height > y0)
        for index in np.flatnonzero(is_inside) if x1 > x0 and y1 > y0 else ():
            pixels = self._frame(int(index))
            left, top = int(lefts[index]), int(tops[index])
            x, y = max(x0, left), max(y0, top)
            right, bottom = min(x1, left + width), min(y1, top + height)
            target = canvas[y - origin[1] : bottom - origin[1], x - origin[0] : right - origin[0]]
            target[..., :3] = pixels[y - top : bottom - top, x - left : right - left]
            target[..., 3] = 255
        return fromarray(canvas)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @cachedmethod(attrgetter("_frames"))
    def _frame(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        try:
            if index >= len(self._layout.spans):
                raise ValueError("the file ends before it")
            return read_frame(self._file, self._layout.spans[index], self._layout.kind)
        except Exception as error:  # a decoder raises whatever broken bytes lead to
            raise SlideError(f"frame {index} of {self.name} cannot be read ({error})", RECOPY_REMEDY) from error


def largest_instance(files: Sequence[Path]) -> Path:
    """Return the file with the largest image; labels, overviews and what is no whole-slide file come last."""

    def size_of(path: Path) -> tuple[int, int]:
        try:
            header, _ = _header(path)
            is_slide = header.get("SOPClassUID") == WHOLE_SLIDE and not BESIDE_THE_SLIDE & _flavour(header)
            return (math.prod(_dimensions(header)) if is_slide else 0), path.stat().st_size
        except SlideError:
            return 0, path.stat().st_size

    return max(sorted(files), key=size_of) if len(files) > 1 else files[0]


@lru_cache(maxsize=1)  # a slide is opened anew after each unreadable region; size and time make a changed file another
def _layout(path: Path, _size: int, _time: int) -> Layout:
    header, at = _header(path)
    try:
        _refuse_what_is_no_slide(header, path.name)
        kind = _kind(header, path.name)
        dimensions = _dimensions(header)
        corners = _corners(header, dimensions, kind, path.name)
        with path.open("rb") as file:
            file.seek(at)
            spans = frame_spans(file, header, n_frames=len(corners), kind=kind)
        wrong = wrong_colours(path)
        remarks: tuple[str, ...] = ()
        if wrong is not None:
            true, why = wrong
            remarks = (f"its JPEG frames are declared {kind.photometric}, and are {true} by {why}: read as these",)
            kind = dataclasses.replace(kind, photometric=true)
        return Layout(
            dimensions=dimensions, kind=kind, spans=spans, corners=corners, properties=_properties(header),
            remarks=remarks,
        )  # fmt: skip
    except SlideError:
        raise
    except Exception as error:  # absent and broken elements raise whatever they lead to
        raise SlideError(f"{path.name} is not readable as a DICOM slide ({error})", RECOPY_REMEDY) from error


def wrong_colours(path: Path) -> tuple[str, str] | None:
    """Return the true colours of a file's JPEG frames and what tells them, where the header declares others; else None."""
    try:
        header, at = _header(path)
        declared = str(header.get("PhotometricInterpretation"))
        if header.file_meta.TransferSyntaxUID not in JPEG_8_BIT or declared not in ("RGB", "YBR_FULL", "YBR_FULL_422"):
            return None
        with path.open("rb") as file:
            file.seek(at + 12)  # the tag of the pixel data, its kind and length
            offsets = file.read(8)
            file.seek(int.from_bytes(offsets[4:], "little") + 8, 1)
            found = colours_of_jpeg(file.read(HEADER_BYTES), trust_jfif=True)
    except (SlideError, OSError, AttributeError) as error:
        pass_disk_fault(error)
        return None  # what is wrong with it is said where it is opened
    if found is None or (found[0] == "RGB") == (declared == "RGB"):
        return None
    return "RGB" if found[0] == "RGB" else "YBR_FULL_422", found[1]


def _refuse_what_is_no_slide(header: Any, name: str) -> None:
    if header.get("SOPClassUID") != WHOLE_SLIDE:
        raise SlideError(f"{name} holds no whole-slide image", "take it out of the folder of slides")
    beside = BESIDE_THE_SLIDE & _flavour(header)
    if beside:
        raise SlideError(f"{name} is the {min(beside).lower()} of a slide", "give the file of the slide itself")
    if header.get("ConcatenationUID"):
        raise SlideError(f"{name} is one part of a concatenation", "join its parts to one file")


def _kind(header: Any, name: str) -> FrameKind:
    try:
        kind = frame_kind(header, _window(header))
    except ValueError as error:
        raise SlideError(f"{name} is a DICOM of a kind that is not read ({error})", CONVERT_REMEDY) from error
    if kind.width * kind.height > MAX_WHOLE_PX:
        raise SlideError(
            f"{name} has frames of {kind.width} x {kind.height} pixels, more than {MAX_WHOLE_PX:,}", CONVERT_REMEDY
        )
    return kind


def _header(path: Path) -> tuple[Any, int]:
    """Return what stands before the pixel data, and where these begin."""
    from pydicom.config import settings
    from pydicom.filereader import dcmread

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # what is wrong with a file is our SlideError
    settings.reading_validation_mode = 0  # IGNORE: odd values elsewhere in the header are no concern here
    try:
        with path.open("rb") as file:
            header = dcmread(file, stop_before_pixels=True)
            return header, file.tell()
    except Exception as error:  # pydicom raises whatever a broken header leads to
        raise SlideError(f"{path.name} is not readable as DICOM ({error})", RECOPY_REMEDY) from error


def _flavour(header: Any) -> set[str]:
    values = header.get("ImageType") or []
    return {values} if isinstance(values, str) else {str(value) for value in values}


def _dimensions(header: Any) -> tuple[int, int]:
    """Return width and height of the whole image; a single frame can be the whole."""
    whole = header.get("TotalPixelMatrixColumns"), header.get("TotalPixelMatrixRows")
    if None in whole and int(header.get("NumberOfFrames") or 1) == 1:
        whole = header.get("Columns"), header.get("Rows")
    if not whole[0] or not whole[1]:
        raise SlideError("the DICOM file does not say how large its image is", RECOPY_REMEDY)
    return int(whole[0]), int(whole[1])


def _corners(header: Any, dimensions: tuple[int, int], kind: FrameKind, name: str) -> Int64[np.ndarray, "frame 2"]:
    """Return left and top of every frame, pixels of the image."""
    n_frames = int(header.get("NumberOfFrames") or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    is_placed = any("PlanePositionSlideSequence" in group for group in groups)
    if is_placed and header.get("DimensionOrganizationType") != "TILED_FULL":
        return _placed_corners(groups, dimensions, n_frames, name)
    n_across, n_down = math.ceil(dimensions[0] / kind.width), math.ceil(dimensions[1] / kind.height)
    if n_frames != n_across * n_down:
        raise SlideError(
            f"{name} has {n_frames} frames where its image takes {n_across} x {n_down}: several focal planes or optical "
            "paths, or an incomplete file",
            CONVERT_REMEDY,
        )
    rows, columns = np.divmod(np.arange(n_frames, dtype=np.int64), n_across)
    return np.stack([columns * kind.width, rows * kind.height], axis=1)


def _placed_corners(
    groups: Sequence[Any], dimensions: tuple[int, int], n_frames: int, name: str
) -> Int64[np.ndarray, "frame 2"]:
    places = [group.PlanePositionSlideSequence[0] for group in groups]
    from_one = [(at.ColumnPositionInTotalImagePixelMatrix, at.RowPositionInTotalImagePixelMatrix) for at in places]
    corners = np.asarray(from_one, np.int64) - 1
    n_places = len(np.unique(corners, axis=0))
    if len(corners) != n_frames or n_places != n_frames:
        raise SlideError(
            f"{name} has {n_frames} frames at {n_places} positions: several focal planes or optical paths",
            CONVERT_REMEDY,
        )
    if (corners < 0).any() or (corners >= np.asarray(dimensions)).any():
        raise SlideError(f"{name} places frames off its image of {dimensions[0]} x {dimensions[1]}", RECOPY_REMEDY)
    return corners


def _shared(header: Any, sequence: str) -> Any:
    """Return an item of the groups that hold for all frames; the header itself where there is none."""
    for group in header.get("SharedFunctionalGroupsSequence") or []:
        for item in group.get(sequence) or []:
            return item
    return header


def _properties(header: Any) -> Mapping[str, str]:
    """Return the scale where the file has one: PixelSpacing is mm between rows, then between columns."""
    spacing = _shared(header, "PixelMeasuresSequence").get("PixelSpacing")
    if spacing is None or len(spacing) != 2:
        return {}
    return {name: str(float(mm) * 1000) for name, mm in zip(MPP_PROPERTIES, reversed(spacing), strict=True)}


def _window(header: Any) -> tuple[float, float] | None:
    """Return the stored values that are shown black and white (PS3.3 C.11.2.1.2); None where no window is stored."""
    item = _shared(header, "FrameVOILUTSequence")
    texts = item.get("WindowCenter"), item.get("WindowWidth")
    if any(text is None or text == "" for text in texts):
        return None
    centre, width = (float(text if isinstance(text, (int, float, str)) else text[0]) for text in texts)  # the first
    function = item.get("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise ValueError(f"window of form {function}")
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    values = _shared(header, "PixelValueTransformationSequence")
    slope, intercept = float(values.get("RescaleSlope") or 1), float(values.get("RescaleIntercept") or 0)
    return (centre - width / 2 - intercept) / slope, (centre + width / 2 - intercept) / slope
