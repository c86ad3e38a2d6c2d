"""The numbers of a map as a DICOM parametric map beside a DICOM slide, by highdicom (the extra `dicom`).

An item a channel and tile of the total pixel matrix, in the slide's own frame of reference: viewers lay it over the slide.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Num

from common import __version__
from common.failures import SlideError, StudyError
from common.files import replacing
from mil.explanation.place import TilePlaces, map_grid

TILE_PX = 256
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # VL Whole Slide Microscopy Image Storage


def check_installed() -> None:
    """Refuse to go on without highdicom.

    Raises:
        StudyError: it is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise StudyError(
            "--exports dicom needs highdicom; install it by pip install 'sarcoma-mil[dicom]', or leave dicom out"
        ) from error


def source_of(slide_file: Path) -> Any | None:
    """Return the header of the finest image of a DICOM slide, a file or a folder of them; None for another slide.

    Raises:
        SlideError: it is DICOM, and none of its images says where it lies on the glass.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    folder = slide_file if slide_file.is_dir() else slide_file.parent
    paths = sorted(folder.glob("*.dcm")) if slide_file.is_dir() or slide_file.suffix.lower() == ".dcm" else []
    own, found = None if slide_file.is_dir() else slide_file, []
    series = None
    for path in [*([own] if own is not None else []), *(path for path in paths if path != own)]:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (InvalidDicomError, OSError):
            continue
        series = series or header.get("SeriesInstanceUID")
        is_image = header.get("SOPClassUID") == WHOLE_SLIDE and "VOLUME" in header.get("ImageType", ())
        if is_image and header.get("SeriesInstanceUID") == series:
            found.append(header)
    if not paths:
        return None
    if not found:
        raise SlideError("no whole-slide image in the DICOM files says where it lies", "leave dicom out of --exports")
    return max(found, key=lambda header: int(header.TotalPixelMatrixColumns))


def write_parametric_map(
    path: Path, places: TilePlaces, values: Mapping[str, Num[np.ndarray, " n"]], source: Any, *, name: str
) -> None:
    """Write a map, atomically; the same map is the same bytes.

    Args:
        path: the file.
        places: of the tiles; the shown area begins at the first pixel of the total pixel matrix.
        values: by the name of the channel, a tile each.
        source: header of the slide's finest image.
        name: of the series.
    """
    import highdicom
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    grid = map_grid(places)
    painted, _ = grid.painted(np.stack(list(values.values()), axis=1))
    image = np.ascontiguousarray(painted.transpose(1, 2, 0))[None]
    largest = float(np.abs(image).max()) or 1.0
    uids = [
        generate_uid(entropy_srcs=[str(source.SOPInstanceUID), name, kind, str(image.tobytes()[:65536])])
        for kind in ("series", "map", "dimensions")
    ]
    mapping = [
        [
            RealWorldValueMapping(
                lut_label=f"output {number}", lut_explanation=channel[:64], unit=codes.UCUM.NoUnits,
                value_range=(-largest, largest), slope=1.0, intercept=0.0,
            )
        ]
        for number, channel in enumerate(values)
    ]  # fmt: skip
    rows, columns = _directions(source)
    first = _first_centre(source, places, grid.pixel_um, rows, columns)
    made = ParametricMap(
        source_images=[source], pixel_array=image, series_instance_uid=uids[0], series_number=900, sop_instance_uid=uids[1],
        instance_number=1, manufacturer="sarcoma-mil", manufacturer_model_name="explain.py", software_versions=__version__,
        device_serial_number="1", contains_recognizable_visual_features=False, real_world_value_mappings=mapping,
        voi_lut_transformations=[highdicom.VOILUTTransformation(window_center=0.0, window_width=2 * largest)],
        content_label="CONTRIBUTION",
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=(grid.pixel_um / 1000, grid.pixel_um / 1000), slice_thickness=0.001
        ),
        plane_orientation=highdicom.PlaneOrientationSequence("SLIDE", (*rows, *columns)),
        plane_positions=[highdicom.PlanePositionSequence("SLIDE", first, (1, 1))],
        tile_pixel_array=True, tile_size=(TILE_PX, TILE_PX),
    )  # fmt: skip
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uids[2]  # highdicom draws one
    for item in made.get("ContributingEquipmentSequence", ()):
        if str(item.get("ContributionDateTime", "")):
            del item.ContributionDateTime  # no file holds a clock time
    for moment in ("InstanceCreationDate", "InstanceCreationTime"):
        if moment in made:
            delattr(made, moment)
    made.ContentDate, made.ContentTime = source.get("ContentDate", "19000101"), source.get("ContentTime", "000000")
    made.SeriesDescription = f"contributions {name}"[:64]
    with replacing(path) as partial:
        made.save_as(partial)


def _directions(source: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return where x (along a row) and y (down a column) of the total pixel matrix point on the glass."""
    values = [float(value) for value in source.ImageOrientationSlide]
    return tuple(values[:3]), tuple(values[3:])


def _first_centre(
    source: Any, places: TilePlaces, pixel_um: float, rows: tuple[float, ...], columns: tuple[float, ...]
) -> tuple[float, float, float]:
    """Return the place on the glass, mm, of the centre of the map's first pixel.

    The origin of the total pixel matrix is the centre of its first pixel; the map begins at the corner of the shown area.
    """
    origin = source.TotalPixelMatrixOriginSequence[0]
    start = np.array([float(origin.XOffsetInSlideCoordinateSystem), float(origin.YOffsetInSlideCoordinateSystem), 0.0])
    along = [
        (corner - 0.5) * mpp / 1000 + pixel_um / 2000 for corner, mpp in zip(places.origin, places.mpp, strict=True)
    ]
    x, y, z = start + along[0] * np.array(rows) + along[1] * np.array(columns)
    return float(x), float(y), float(z)
