"""A study's slides, or the images of a tile table, to feature files and status tables: all that extract_features.py does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.arrays import read_attributes
from common.cohort import read_cohort
from common.failures import SlideStatus, StudyError, earlier_statuses, failure_table, write_status
from common.guards.one_at_a_time import alone
from common.study import Study, as_study, open_study
from common.tables.study_slides import study_slides
from features.embedding.embedders import ready_embedder, scale_note
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.image_jobs import extract_tile_table
from features.embedding.jobs import Embedder, EncoderStatus
from features.embedding.slide_jobs import extract_slides
from features.embedding.table_cohort import implied_cohort
from features.embedding.tile_images import check_images_are_there
from features.embedding.tile_table import columns_by_image, read_tile_table
from features.encoder.card import EncoderCard
from features.encoder.registry import find_card

FIELD_PX = 256  # of a tile table's images, where --field_px says nothing


@dataclass(frozen=True, kw_only=True)
class EncoderOutcome:
    """What became of each slide under one encoder, in this run."""

    encoder: str
    statuses: tuple[SlideStatus, ...]
    status_file: Path  # with what earlier runs made of slides that this one left alone

    @property
    def summary(self) -> str:
        """The failures, or how much was made, and where the table is; for the screen."""
        done = [row for row in self.statuses if row.state == "done"]
        n_tiles, n_unreadable = (
            sum(int(str(row.figures[name])) for row in done) for name in ("n_tiles", "n_unreadable")
        )
        counted = f"{len(done)} bags, {n_tiles} embeddings, {n_unreadable} unreadable tiles left out"
        return f"{failure_table(self.statuses) or counted}\nstatus of each: {self.status_file}"


@dataclass(frozen=True, kw_only=True)
class StudyEmbedding:
    """What a run of one or several encoders over a study left."""

    outcomes: tuple[EncoderOutcome, ...]
    gpu_shares: tuple[float, ...]  # of the time in which each GPU computed; none on a CPU

    @property
    def statuses(self) -> list[SlideStatus]:
        """The statuses under all encoders."""
        return [row for outcome in self.outcomes for row in outcome.statuses]


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is to be embedded."""

    study: Study
    tile_px: int
    tile_um: float  # 0: images of unknown scale
    left_out: Collection[str]  # slides that --where leaves alone
    prepare: Callable[[], None]  # writes what the study needs before it begins
    extract: Callable[[Sequence[Embedder]], list[EncoderStatus]]


def embed_study(study: Path | Study, config: ExtractionConfig) -> StudyEmbedding:
    """Embed the tiles of a study's slides, or of a table of tile images (`config.tiles`).

    Writes the feature files and a status table for each encoder; what is whole and was made alike is kept.

    Args:
        study: the folder; `config.study` is not looked at.
        config: the settings.

    Raises:
        StudyError: the study, a table, an encoder or the device is not as it must be, or another run embeds by the same
            encoder; the message says what to do.
    """
    work = _slides(open_study(study), config) if config.tiles is None else _tile_table(as_study(study), config)
    cards = [find_card(name) for name in config.encoders]
    names = [f"features of {card.name}" for card in cards]  # other encoders may be at work beside
    with alone(work.study.root, *names, what=f"extract_features.py --encoder {config.encoder}"):
        return _embed(work, cards, config)


def _embed(work: _Work, cards: Sequence[EncoderCard], config: ExtractionConfig) -> StudyEmbedding:
    work.prepare()
    embedders = [ready_embedder(card, config, work.tile_px) for card in cards]
    if config.tiles is None and config.scales is None:
        print("".join(f"{note}\n" for card in cards if (note := scale_note(card, work.tile_um, work.tile_px))), end="")
    statuses = work.extract(embedders)
    outcomes = tuple(_outcome(work, embedder, statuses) for embedder in embedders)
    for outcome in outcomes:
        write_status(outcome.status_file, [*outcome.statuses, *earlier_statuses(outcome.status_file, work.left_out)])
    shares = tuple(clock.share() for clock in embedders[0].runtime.gpus)  # encoders share the GPUs
    return StudyEmbedding(outcomes=outcomes, gpu_shares=shares)


def _outcome(work: _Work, embedder: Embedder, statuses: Sequence[EncoderStatus]) -> EncoderOutcome:
    own = tuple(row for name, row in statuses if name == embedder.name)
    status_file = work.study.features(embedder.name) / "status.csv"
    return EncoderOutcome(encoder=embedder.name, statuses=own, status_file=status_file)


def _slides(study: Study, config: ExtractionConfig) -> _Work:
    cohort = read_cohort(study.cohort_table, where=config.where)
    slide_ids = [str(row["slide_id"]) for row in cohort.rows]
    files = study_slides(study, cohort.addresses, slide_ids, config)
    tile_px, tile_um = tile_sides(study, slide_ids)
    return _Work(
        study=study, tile_px=tile_px, tile_um=tile_um, left_out=cohort.left_out, prepare=lambda: None,
        extract=lambda embedders: extract_slides(study, files, slide_ids, config, embedders),
    )  # fmt: skip


def _tile_table(study: Study, config: ExtractionConfig) -> _Work:
    assert config.tiles is not None
    patients = read_tile_table(config.tiles, base=config.images)
    base = config.tiles.parent if config.images is None else config.images
    check_images_are_there([path for patient in patients for path in patient.images], base)
    field_px = config.field_px or FIELD_PX
    cohort = implied_cohort(study, patients, columns_by_image(config.tiles, patients))
    print("".join(f"note: {note}\n" for note in cohort.notes), end="")
    return _Work(
        study=study, tile_px=field_px, tile_um=0.0, left_out=frozenset(), prepare=cohort.write,
        extract=lambda embedders: extract_tile_table(study, patients, config, embedders, field_px),
    )  # fmt: skip


def tile_sides(study: Study, slide_ids: Sequence[str]) -> tuple[int, float]:
    """Return the side of the study's tiles in pixels and µm; without any tile file the slides fail one by one later.

    Raises:
        StudyError: no slide has a tile file, or tiles differ in pixels.
    """
    sides, sides_um = set(), set()
    for slide_id in slide_ids:
        try:
            known = read_attributes(study.tile_file(slide_id))
            sides.add(int(known["tile_px"]))
            sides_um.add(float(known["tile_um"]))
        except (ValueError, KeyError):
            continue  # named as that slide's failure when its turn comes
    if not sides:
        raise StudyError(f"no tile file in {study.tiles}; run preprocessing/tile_slides.py --study {study.root} first")
    if len(sides) > 1:
        raise StudyError(f"{study.tiles} mixes tiles of {sorted(sides)} px; rerun preprocessing/tile_slides.py")
    return sides.pop(), min(sides_um)
