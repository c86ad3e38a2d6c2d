"""One slide to its tile file, outline and preview: kept where they are whole and current, else made, then written."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from common.arrays import stale_reason
from common.failures import SlideStatus
from common.files import settings_text, write_text
from common.remote.remote_slide import in_use, is_seen
from common.settings import settings_of
from common.slide_files import file_fingerprint, fingerprint_at_hand
from preprocessing.reading.scale import OF_FILE
from preprocessing.reading.slide import open_slide
from preprocessing.tiling.preview import write_preview
from preprocessing.tiling.slide_tiles import SlideTiles, done_status
from preprocessing.tiling.tile_store import SCHEMA, check_not_replaced, read_if_current, write_slide_tiles
from preprocessing.tiling.tiled_slide import SlideOrigin, tile_open_slide
from preprocessing.tiling.tiling_settings import WITHOUT_EFFECT, TilingConfig
from preprocessing.tissue.source import find_source


@dataclass(frozen=True, kw_only=True)
class TilingJob:
    """A slide to tile: its file, the scale given for it (µm a pixel, x and y) with its source, and where results go."""

    slide_id: str
    path: Path
    mpp: tuple[float, float] | None
    mpp_source: str
    tile_file: Path
    outline_file: Path
    preview_file: Path
    mask_file: Path | None = None


def tile_slide(job: TilingJob, config: TilingConfig) -> SlideStatus:
    """Tile one slide and return its status; whole files of the same slide, tissue and settings are kept.

    Raises:
        SlideError: the slide cannot be read, has no scale, no tissue, or no whole tile of tissue.
    """
    with in_use(job.path):
        tiles, classes = _current_tiles(job, config)
    return done_status(tiles, classes=classes)


def is_to_be_opened(job: TilingJob, config: TilingConfig) -> bool:
    """Return whether `tile_slide` will open the slide: nothing whole and current is there, or its bytes are not known yet.

    Raises:
        SlideError: a slide that lies elsewhere cannot be asked for.
    """
    return not is_seen(job.path) or _kept_tiles(job, config)[0] is None


def remove_stale(job: TilingJob, config: TilingConfig) -> None:
    """Remove what a failed slide has from an earlier run, unless it is whole and of this slide and these settings.

    A slide fails without its files being at fault: its worker was killed, it took too long, the disk was away.
    """
    made_of: dict[str, object] = {"schema": SCHEMA, "settings": _settings(config)}
    with suppress(OSError):  # the slide itself may be out of reach
        if fingerprint := fingerprint_at_hand(job.path):
            made_of["slide_fingerprint"] = fingerprint
    if job.mpp is not None:
        made_of |= {"mpp_x": job.mpp[0], "mpp_y": job.mpp[1]}
    if stale_reason(job.tile_file, made_of) is not None:
        for file in (job.tile_file, job.preview_file):
            file.unlink(missing_ok=True)


def _settings(config: TilingConfig) -> str:
    return settings_text(settings_of(config, without=WITHOUT_EFFECT))


def _current_tiles(job: TilingJob, config: TilingConfig) -> tuple[SlideTiles, tuple[str, ...]]:
    """Keep or make the slide's files: first all is reckoned, then all is written.

    Returns:
        The tiles, and the classes of the annotations that were taken for tissue.
    """
    kept, reason, classes = _kept_tiles(job, config)
    if kept is not None:
        return kept, classes
    with open_slide(job.path, mpp=job.mpp, mpp_source=job.mpp_source) as slide:
        source = find_source(
            job.outline_file, job.mask_file, slide.outline_origin, mask_threshold=config.mask_threshold
        )
        origin = SlideOrigin(
            slide_id=job.slide_id, slide_fingerprint=file_fingerprint(job.path), preview_file=job.preview_file,
            settings=_settings(config),
        )  # fmt: skip
        if job.tile_file.exists():
            print(f"{job.slide_id}: made again, because {reason}", flush=True)
        tiled = tile_open_slide(slide, source, origin, config)
    check_not_replaced(job.path, origin.slide_fingerprint)
    write_preview(job.preview_file, tiled.picture)
    if tiled.refusal is not None:
        job.tile_file.unlink(missing_ok=True)  # looked at, and not of this slide, tissue and settings
        raise tiled.refusal
    if tiled.outline is not None:
        write_text(job.outline_file, tiled.outline)
    write_slide_tiles(job.tile_file, tiled.tiles)  # last: its presence says that outline and preview are there
    return tiled.tiles, source.outline.classes if source.outline is not None else ()


def _kept_tiles(job: TilingJob, config: TilingConfig) -> tuple[SlideTiles | None, str, tuple[str, ...]]:
    """Look for files that are whole and current. The slide stays closed: its fingerprint says that it is the same.

    Returns:
        The tiles, None where they are to be made; the reason; the classes of the annotations that were taken for tissue.
    """
    try:
        fingerprint = file_fingerprint(job.path)
    except OSError as error:  # opening it will name the fault
        return None, str(error), ()
    outline_origin = (0, 0)  # only the slide knows it; kind and fingerprint of the tissue do not hang on it
    source = find_source(job.outline_file, job.mask_file, outline_origin, mask_threshold=config.mask_threshold)
    made_of: dict[str, object] = {
        "schema": SCHEMA, "settings": _settings(config), "slide_fingerprint": fingerprint,
        "tissue_source": source.name, "tissue_fingerprint": source.fingerprint,
    }  # fmt: skip
    if job.mpp is not None:
        made_of |= {"mpp_x": job.mpp[0], "mpp_y": job.mpp[1]}
    made_of["mpp_source"] = OF_FILE if job.mpp is None else job.mpp_source  # the same file says the same scale
    kept, reason = read_if_current(job.tile_file, made_of, beside=(job.outline_file, job.preview_file))
    return kept, reason, source.outline.classes if source.outline is not None else ()
