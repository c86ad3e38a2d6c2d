"""Feature files from one layout to another: the loop over slides, with a status for each and a side file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common.arrays import read_attributes
from common.failures import SlideError, SlideStatus, StudyError, failed
from common.running.progress import followed, stage
from common.settings import option
from common.slide_files import file_fingerprint
from features.exchange.bag import LEVEL0, OWN, ExchangeBag
from features.exchange.folder import FeatureFolder, common_provenance
from features.exchange.layout_writers import WRITERS, write_bags_config, write_layout
from features.exchange.record import is_finished, read_record, record_file, write_record

STEP = "convert_features"


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    """The settings of convert_features.py."""

    study: Path = option(Path("study"), help="study folder", group="input")
    encoder: str = option("efficientnet_lite0", help="whose features of the study: features/ENCODER/", group="input")
    features: Path | None = option(
        None,
        help="instead: a folder of features made by CLAM, TRIDENT, STAMP, slideflow or this project",
        group="input",
    )
    coordinates: Path | None = option(
        None,
        help="CLAM's patches/, where alone the side of its tiles stands; unset: in the folder or beside",
        group="input",
    )
    mpp: float | None = option(None, help="µm a level-0 pixel of slides whose scale nothing else tells", group="input")
    to: str | None = option(None, help=f"layout to write: {', '.join(WRITERS)}", group="output")
    out: Path | None = option(None, help="folder to write to", group="output")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.to is not None and self.to not in WRITERS:
            raise ValueError(f"--to is one of {', '.join(WRITERS)}, got {self.to!r}")
        if self.mpp is not None and not 0.05 <= self.mpp <= 10:
            raise ValueError(f"--mpp is a scale from 0.05 to 10 µm a pixel, got {self.mpp}")


def convert_folder(folder: FeatureFolder, out: Path, to: str) -> list[SlideStatus]:
    """Convert every slide of a folder; what is whole and was made from the same file with the same settings is kept.

    Raises:
        StudyError: the readable files were made in different ways, or slideflow's one tile size does not fit all.
    """
    with stage("reading what the files tell"):
        headers, unreadable = _headers(folder)
    provenance = common_provenance(
        {folder.files[slide]: own for slide, own in headers.items()}, "convert one kind at a time"
    )
    if to == "slideflow":
        provenance = replace(provenance, tile_um=_one_tile_um(headers))
    # from here on files change
    for status in unreadable:
        _remove(out, status.slide_id)
    statuses = list(unreadable)
    for slide, header in followed(list(headers.items()), title=f"to {to}", unit="slide"):
        try:
            statuses.append(_convert(folder, slide, header, out, to))
        except ValueError as error:  # a SlideError is one
            _remove(out, slide)
            statuses.append(failed(slide, STEP, error if isinstance(error, SlideError) else SlideError(str(error))))
    if to == "slideflow" and any(row.state == "done" for row in statuses):
        write_bags_config(out, provenance)
    return statuses


def _headers(folder: FeatureFolder) -> tuple[dict[str, ExchangeBag], list[SlideStatus]]:
    """Return what each slide's file tells, and the statuses of those that tell nothing."""
    headers: dict[str, ExchangeBag] = {}
    unreadable: list[SlideStatus] = []
    for slide in sorted(folder.files):
        try:
            headers[slide] = folder.header(slide)
        except ValueError as error:
            unreadable.append(failed(slide, STEP, SlideError(str(error))))
    return headers, unreadable


def _convert(folder: FeatureFolder, slide: str, header: ExchangeBag, out: Path, to: str) -> SlideStatus:
    source = folder.files[slide]
    settings: dict[str, Any] = {
        "to": to, "from": header.layout, "mpp": list(header.mpp) if header.mpp else None, "source": _fingerprint(source, header),
        "footprint_level0": header.footprint_level0,
    }  # fmt: skip
    if not is_finished(out, slide, settings):
        _remove(out, slide)
        bag = folder.read(slide)
        write_record(out, bag, settings=settings, files=write_layout(out, bag, to))
    record = read_record(record_file(out, slide))
    assert record is not None
    is_narrowed = to == "stamp" and record["dtype"] != "float16"
    figures: dict[str, object] = {
        "n_tiles": record["n_tiles"], "from": header.layout, "to": to, "footprint_level0": record["footprint_level0"],
        "coordinates": "level-0" if header.coords_unit == LEVEL0 else header.coords_unit,
        "note": "rounded to float16, as STAMP keeps them" if is_narrowed else "",
    }  # fmt: skip
    return SlideStatus(slide_id=slide, step=STEP, state="done", figures=figures)


def _fingerprint(path: Path, header: ExchangeBag) -> str:
    return str(read_attributes(path)["content_sha256"]) if header.layout == OWN else file_fingerprint(path)


def _remove(out: Path, slide: str) -> None:
    """Remove what an earlier conversion of a slide left, so that no old file passes for a new one."""
    record = read_record(record_file(out, slide))
    if record is None:
        return
    record_file(out, slide).unlink()
    for name in record["files"]:
        path = out / name
        is_own = path.name in (f"{slide}.h5", f"{slide}.pt", f"{slide}.index.npz")  # whatever a side file says
        if is_own and not any(part.is_symlink() for part in path.parents if out in part.parents):
            path.unlink(missing_ok=True)


def _one_tile_um(headers: Mapping[str, ExchangeBag]) -> float | str:
    sizes = {header.tile_um for header in headers.values() if header.tile_um is not None}
    if len(sizes) > 1:
        raise StudyError(
            f"tiles cover {min(sizes):.4g} to {max(sizes):.4g} µm, and slideflow's bags_config.json has one size; convert to "
            "another layout, or slides of one size at a time"
        )
    return sizes.pop() if sizes else "unknown"


def with_scale(folder: FeatureFolder, mpp: float | None) -> FeatureFolder:
    """Return a folder in which slides without a known scale have the given one."""
    if mpp is None:
        return folder
    return replace(folder, mpp_of={slide: folder.mpp_of.get(slide, (mpp, mpp)) for slide in folder.files})
