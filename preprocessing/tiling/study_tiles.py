"""The slides of a study to tile files: which slides there are, the loop over them, status table and contact sheet."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.cluster.cluster_settings import OF_CLUSTER
from common.cluster.engine import engine_of
from common.cohort import read_cohort
from common.failures import SlideError, SlideStatus, StudyError, earlier_statuses, failed, status_row, write_status
from common.files import settings_text
from common.machine import default_workers
from common.parallel import Engine, over_slides
from common.remote.ahead import fetched_ahead
from common.settings import settings_of
from common.sharing.claims import Claims, ElsewhereError, Sharing, settled
from common.slide_files import no_such_slide
from common.study import Study, open_study
from common.tables.study_slides import study_slides
from preprocessing.reading.scale import given_scale, parse_scale
from preprocessing.tiling.contact_sheet import write_contact_sheet
from preprocessing.tiling.slide_tiles import STEP
from preprocessing.tiling.tiled_slide import RefusedSlideError
from preprocessing.tiling.tiling_job import TilingJob, is_to_be_opened, remove_stale, tile_slide
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.given_files import MatchedMasks, match_masks, notes_on, outlines_of_none
from preprocessing.tissue.source import SEGMENTED


@dataclasses.dataclass(frozen=True)
class TiledStudy:
    """What became of each slide that was to be tiled, and where the tables of all slides lie."""

    statuses: Sequence[SlideStatus]
    all_statuses: Sequence[SlideStatus]  # with what earlier runs made of slides that this one left alone
    status_file: Path
    contact_sheet: Path
    notes: Sequence[str] = ()  # on files that are of no slide


def tile_study(study: Path | Study, config: TilingConfig) -> TiledStudy:
    """Tile the slides of a study, and write the status of each and the page with all previews.

    Slides that `config.where` and `config.shard` leave out keep what an earlier run said of them. Runs with the same settings share
    the slides: each takes what no other has, and all end with the whole table.

    Raises:
        StudyError: the study, its clinical table or the folder of masks is missing or wrong, or another run tiles it with other
            settings.
    """
    study = open_study(study)
    settings = settings_of(config, without=("study", "where", "workers", "timeout_s", *OF_CLUSTER))
    with Claims(study.root, {"tiles": settings_text(settings)}, what="tile_slides.py") as claims:
        return _tile(study, config, claims)


def _tile(study: Study, config: TilingConfig, sharing: Sharing) -> TiledStudy:
    cohort = read_cohort(study.cohort_table, where=config.where)
    slide_ids = {*cohort.left_out, *(row["slide_id"] for row in cohort.rows)}
    files = study_slides(study, cohort.addresses, slide_ids, config)
    known_ids = {*files, *slide_ids}
    masks = _matched_masks(study, known_ids, config)
    of_others = config.part.left_out(known_ids)
    own_files = {slide_id: path for slide_id, path in files.items() if slide_id not in of_others}
    own_rows = [row for row in cohort.rows if row["slide_id"] not in of_others]
    with engine_of(config) as engine:
        statuses = tile_slides(study, own_files, own_rows, config, masks=masks, engine=engine, sharing=sharing)
    with sharing.turn("status"):  # runs of several parts end at once
        statuses = settled(statuses, study.status_file, sharing)
        known = [*statuses, *earlier_statuses(study.status_file, cohort.left_out | of_others)]
        write_status(study.status_file, known)
        rows = [status_row(status) for status in known]
        write_contact_sheet(study.contact_sheet, rows, study.previews, is_synthetic=study.truth.is_dir())
    notes = notes_on(masks.of_none, outlines_of_none(study.tiles, known_ids))
    return TiledStudy(statuses, known, study.status_file, study.contact_sheet, notes)


def tile_slides(
    study: Study, files: Mapping[str, Path], rows: Sequence[Mapping[str, Any]], config: TilingConfig, *,
    masks: MatchedMasks | None = None, engine: Engine | None = None, sharing: Sharing | None = None,
) -> list[SlideStatus]:  # fmt: skip
    """Tile every slide that has a row and a file; the others are failures of their own.

    Args:
        study: where the files go.
        files: slide id to slide file.
        rows: the clinical table's rows, one a slide, with slide_id and perhaps mpp, or mpp_x and mpp_y.
        config: the settings.
        masks: those of the slides; None: they are sought.
        engine: does the work instead of processes of this machine.
        sharing: what other runs hold.

    Raises:
        StudyError: the folder of masks that was named is not there, holds none of a slide, or two of one.
    """
    if masks is None:
        masks = _matched_masks(study, {*files, *(row["slide_id"] for row in rows)}, config)
    statuses = list(_unmatched(study, files, {row["slide_id"] for row in rows}, is_whole_table=config.where is None))
    jobs = {job.slide_id: job for job in _jobs(study, files, rows, config, masks.of_slide)}
    work = [(slide_id, (job, config)) for slide_id, job in jobs.items()]
    workers = config.workers if config.workers is not None else default_workers()
    paths = {slide_id: job.path for slide_id, job in jobs.items()}
    with fetched_ahead(
        paths, window=workers + 2, is_needed=lambda slide: is_to_be_opened(jobs[slide], config)
    ) as ahead:
        outcomes = over_slides(
            tile_slide,
            work,
            workers=workers,
            timeout_s=config.timeout_s,
            title="tiling",
            engine=engine,
            sharing=sharing,
        )
        for outcome in outcomes:
            ahead.done(outcome.name)
            if outcome.error is not None:
                # the preview of this run, or of the one that shares the work, shows why a slide was refused
                if not isinstance(outcome.error, RefusedSlideError | ElsewhereError):
                    remove_stale(jobs[outcome.name], config)
                statuses.append(failed(outcome.name, STEP, outcome.error))
            else:
                assert outcome.value is not None
                statuses.append(outcome.value)
    return statuses


def _matched_masks(study: Study, slide_ids: set[str], config: TilingConfig) -> MatchedMasks:
    """Match the masks that are named, or the study's own.

    Raises:
        StudyError: the folder that was named is not there, or holds none of a slide; or two are of one slide.
    """
    if config.masks is None:
        return match_masks(study.masks, slide_ids) if study.masks.is_dir() else MatchedMasks({}, ())
    if not config.masks.is_dir():
        raise StudyError(f"--masks: no folder {config.masks}; give the one with <slide>.png or .tif")
    masks = match_masks(config.masks, slide_ids)
    if not masks.of_slide:
        found = " ".join(notes_on(masks.of_none, ())) or "it is empty"
        raise StudyError(f"--masks: no mask in {config.masks} is of a slide: {found}. Name each after its slide")
    return masks


def _unmatched(
    study: Study, files: Mapping[str, Path], with_row: set[str], *, is_whole_table: bool
) -> Iterable[SlideStatus]:
    for slide_id in sorted(with_row - set(files)):
        yield failed(slide_id, STEP, no_such_slide(slide_id, study.slides))
    if is_whole_table:
        for slide_id in sorted(set(files) - with_row):
            error = SlideError(
                f"{files[slide_id].name} has no row in the clinical table", "add a row, or move the file away"
            )
            yield failed(slide_id, STEP, error)


def _jobs(
    study: Study, files: Mapping[str, Path], rows: Sequence[Mapping[str, Any]], config: TilingConfig,
    masks: Mapping[str, Path],
) -> Iterator[TilingJob]:  # fmt: skip
    """Yield a job for each slide with a row and a file, by name."""
    flag = None if config.mpp is None else parse_scale(config.mpp)
    for row in sorted(rows, key=lambda row: str(row["slide_id"])):
        slide_id = row["slide_id"]
        if slide_id in files:
            mpp, source = given_scale(row, flag) or (None, "")
            yield TilingJob(
                slide_id=slide_id, path=files[slide_id], mpp=mpp, mpp_source=source, tile_file=study.tile_file(slide_id),
                outline_file=study.outline_file(slide_id), preview_file=study.preview_file(slide_id),
                mask_file=masks.get(slide_id),
            )  # fmt: skip


def summary(statuses: Sequence[SlideStatus]) -> str:
    """Return one line: slides, tissue, tiles kept and left out, flags and fallbacks."""
    done = [row.figures for row in statuses if row.state == "done"]
    n_tiles = sum(int(str(row["n_tiles"])) for row in done)
    n_excluded = sum(int(str(value)) for row in done for name, value in row.items() if name.startswith("n_excluded_"))
    area = sum(float(str(row["tissue_mm2"])) for row in done)
    n_flagged = sum(bool(row["flags"]) for row in done)
    n_fallbacks = sum(bool(row["stain_fallback"]) for row in done)
    sources = Counter(str(row["tissue_source"]) for row in done)
    given = "".join(f", tissue of {n} by {kind}" for kind, n in sorted(sources.items()) if kind != SEGMENTED)
    return (
        f"{len(done)} slides, {area:.1f} mm² of tissue, {n_tiles} tiles ({n_excluded} excluded), "
        f"{n_flagged} slides with a flag, {n_fallbacks} stain fits by a fallback{given}"
    )
