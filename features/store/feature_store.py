"""The feature file: embeddings and coordinates of a slide's readable tiles, with all that says how they were made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int64

from common.arrays import read_arrays, write_arrays, writing_arrays
from features.store.feature_log import FeatureLog
from features.store.provenance import Stated

if TYPE_CHECKING:
    import h5py

SCHEMA = "features/1"
ARRAYS = {"features": ("f", 2), "coords": ("i", 2), "unreadable": ("i", 1), "image_index": ("i", 1)}  # kinds, axes


@dataclass(frozen=True, kw_only=True)
class FeatureBag:
    """The embeddings of one slide; row i of `features` is the tile at row i of `coords` (level-0 px, top left)."""

    slide_id: str
    features: Float[np.ndarray, "n dim"]  # float16; features of other tools keep their float32
    coords: Int64[np.ndarray, "n 2"]
    unreadable: Int64[np.ndarray, " m"]  # rows of the tile file that could not be read
    attributes: Mapping[str, Stated]
    image_index: Int64[np.ndarray, " n_or_0"] = field(default_factory=lambda: np.empty(0, np.int64))  # tile tables only


def write_feature_bag(
    path: Path, bag: FeatureBag, *, coords_attributes: Mapping[str, str | int | float] | None = None
) -> None:
    """Write a feature file, atomically. `coords_attributes` are for other tools' readers."""
    arrays = {"features": bag.features, "coords": bag.coords, "unreadable": bag.unreadable}
    if len(bag.image_index):
        arrays["image_index"] = bag.image_index
    attributes = {"schema": SCHEMA, "slide_id": bag.slide_id, **bag.attributes}
    write_arrays(path, arrays, attributes, array_attributes={"coords": coords_attributes or {}})


def read_feature_bag(path: Path) -> FeatureBag:
    """Read a feature file whole.

    Raises:
        ValueError: the file is truncated, damaged or of another kind.
    """
    file = read_arrays(path)
    if file.attributes.get("schema") != SCHEMA:
        raise ValueError(
            f"{path}: format {file.attributes.get('schema')}, not {SCHEMA}; rerun features/extract_features.py"
        )
    arrays = {"image_index": np.empty(0, np.int64), **file.arrays}
    for name, (kinds, n_axes) in ARRAYS.items():
        array = arrays.get(name)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds or array.ndim != n_axes:
            raise ValueError(
                f"{path}: damaged ({name} is missing or of another kind); rerun features/extract_features.py"
            )
    return FeatureBag(
        slide_id=str(file.attributes.get("slide_id", "")), attributes=file.attributes,
        **{name: arrays[name] for name in ARRAYS},
    )  # fmt: skip


def write_logged_bag(
    path: Path, log: FeatureLog, *, slide_id: str, coords: Int64[np.ndarray, "n 2"], attributes: Mapping[str, Stated],
    image_index: Int64[np.ndarray, " n_or_0"], datasets: Mapping[str, tuple[str, ...]],
    coords_attributes: Mapping[str, str | int | float] | None = None,
) -> None:  # fmt: skip
    """Write a feature file from a log in bounded memory, atomically.

    Args:
        path: the target.
        log: the embeddings of all parts.
        slide_id: whose they are.
        coords: corners of all tiles asked for; those unreadable in any part are left out.
        attributes: how they were made.
        image_index: the image of each tile (tile tables only).
        datasets: dataset to the parts whose embeddings stand side by side in it; the first is "features".
        coords_attributes: for other tools' readers.

    Raises:
        ValueError: no tile is readable in all parts.
    """
    is_read = np.ones(len(coords), dtype=bool)
    for record in log.records():
        is_read[record.unreadable] = False
    if not is_read.any():
        raise ValueError("no tile can be read")
    place = np.cumsum(is_read) - 1
    columns = _columns(datasets, log.dimensions)
    attributes = {"schema": SCHEMA, "slide_id": slide_id, **attributes}
    with writing_arrays(path, attributes, array_attributes={"coords": coords_attributes or {}}) as file:
        for name, parts in datasets.items():
            width = sum(log.dimensions[part] for part in parts)
            file.create_dataset(name, shape=(int(is_read.sum()), width), dtype=np.float16)
        for record in log.records():
            if record.part in columns:
                name, start = columns[record.part]
                kept = is_read[record.rows]
                _write_rows(file[name], place[record.rows[kept]], start, record.features[kept])
        file.create_dataset("coords", data=coords[is_read])
        file.create_dataset("unreadable", data=np.flatnonzero(~is_read))
        if len(image_index):
            file.create_dataset("image_index", data=image_index[is_read])


def _columns(datasets: Mapping[str, tuple[str, ...]], dimensions: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """Return for each part its dataset and first column."""
    columns = {}
    for name, parts in datasets.items():
        start = 0
        for part in parts:
            columns[part] = (name, start)
            start += dimensions[part]
    return columns


def _write_rows(dataset: "h5py.Dataset", rows: np.ndarray, start: int, values: np.ndarray) -> None:
    """Write scattered rows, each run of neighbours at once."""
    order = np.argsort(rows)
    rows, values = rows[order], values[order]
    for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
        if len(run):
            first, last = int(rows[run[0]]), int(rows[run[-1]])
            dataset[first : last + 1, start : start + values.shape[1]] = values[run]
