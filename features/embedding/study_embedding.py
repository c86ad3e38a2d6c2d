"""A study's slides, or the images of a tile table, to feature files and status tables: all that extract_features.py does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.arrays import read_attributes
from common.cluster.cluster_settings import OF_CLUSTER
from common.cluster.engine import engine_of
from common.cohort import read_cohort
from common.failures import SlideStatus, StudyError, earlier_statuses, failure_table, write_status
from common.files import content_sha256, settings_text
from common.settings import settings_of
from common.sharing.claims import Claims, Sharing, settled
from common.study import Study, as_study, open_study
from common.tables.study_slides import study_slides
from features.embedding.cluster_jobs import extract_on_cluster
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
OF_MACHINE = ("study", "where", "images", "workers", "threads", "batch", "ahead", "timeout_s", *OF_CLUSTER)
OF_ENCODER = ("encoder", "weights", "device", "precision")  # told by what an encoder's files say of it


@dataclass(frozen=True, kw_only=True)
class EncoderOutcome:
    """What became of each slide under one encoder, in this run."""

    encoder: str
    statuses: tuple[SlideStatus, ...]
    all_statuses: tuple[SlideStatus, ...]  # with what earlier runs made of slides that this one left alone
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
    left_out: Collection[str]  # slides that --where and --shard leave alone
    prepare: Callable[[], None]  # writes what the study needs before it begins
    extract: Callable[[Sequence[Embedder], Sharing], list[EncoderStatus]]
    on_cluster: Callable[[Sharing], list[EncoderStatus]]


def embed_study(study: Path | Study, config: ExtractionConfig) -> StudyEmbedding:
    """Embed the tiles of a study's slides, or of a table of tile images (`config.tiles`).

    Writes the feature files and a status table for each encoder; what is whole and was made alike is kept. Runs with the same
    settings share the slides: each takes what no other has, and all end with the whole table.

    Args:
        study: the folder; `config.study` is not looked at.
        config: the settings.

    Raises:
        StudyError: the study, a table, an encoder or the device is not as it must be, or another run embeds by the same
            encoder with other settings; the message says what to do.
    """
    work = _slides(open_study(study), config) if config.tiles is None else _tile_table(as_study(study), config)
    cards = [find_card(name) for name in config.encoders]
    work.prepare()
    embedders = [] if config.is_clustered else [ready_embedder(card, config, work.tile_px) for card in cards]
    if config.tiles is None and config.scales is None:
        print("".join(f"{note}\n" for card in cards if (note := scale_note(card, work.tile_um, work.tile_px))), end="")
    what = f"extract_features.py --encoder {config.encoder}"
    with Claims(work.study.root, _steps(cards, embedders, config), what=what) as claims:
        statuses = work.on_cluster(claims) if config.is_clustered else work.extract(embedders, claims)
        with claims.turn("status"):  # runs of several parts end at once
            outcomes = tuple(_written(work, card.name, statuses, claims) for card in cards)
    shares = tuple(clock.share() for clock in embedders[0].runtime.gpus) if embedders else ()  # encoders share the GPUs
    return StudyEmbedding(outcomes=outcomes, gpu_shares=shares)


def _steps(cards: Sequence[EncoderCard], embedders: Sequence[Embedder], config: ExtractionConfig) -> dict[str, str]:
    """Return what is made and all that decides its results; other encoders may be at work beside."""
    known = settings_of(config, without=(*OF_MACHINE, *(OF_ENCODER if embedders else ("encoder",))))
    for name, path in (("tiles", config.tiles), ("stain_reference", config.stain_reference)):
        if path is not None and path.is_file():  # machines may see it under other paths
            known[name] = content_sha256(path)
    told: dict[str, object] = {own.name: own.provenance.record() for own in embedders}
    return {f"features of {card.name}": settings_text({**known, "encoder": told.get(card.name)}) for card in cards}


def _written(work: _Work, encoder: str, statuses: Sequence[EncoderStatus], sharing: Sharing) -> EncoderOutcome:
    status_file = work.study.features(encoder) / "status.csv"
    own = tuple(settled([row for name, row in statuses if name == encoder], status_file, sharing))
    known = (*own, *earlier_statuses(status_file, work.left_out))
    write_status(status_file, known)
    return EncoderOutcome(encoder=encoder, statuses=own, all_statuses=known, status_file=status_file)


def _slides(study: Study, config: ExtractionConfig) -> _Work:
    cohort = read_cohort(study.cohort_table, where=config.where)
    slide_ids = [str(row["slide_id"]) for row in cohort.rows]
    files = study_slides(study, cohort.addresses, slide_ids, config)
    tile_px, tile_um = tile_sides(study, slide_ids)
    of_others = config.part.left_out(slide_ids)
    own = [slide_id for slide_id in slide_ids if slide_id not in of_others]

    def on_cluster(sharing: Sharing) -> list[EncoderStatus]:
        with engine_of(config) as engine:
            assert engine is not None, "asked for where there is one"
            return extract_on_cluster(study, files, own, config, tile_px, engine=engine, sharing=sharing)

    return _Work(
        study=study, tile_px=tile_px, tile_um=tile_um, left_out=cohort.left_out | of_others, prepare=lambda: None,
        extract=lambda embedders, sharing: extract_slides(study, files, own, config, embedders, sharing),
        on_cluster=on_cluster,
    )  # fmt: skip


def _tile_table(study: Study, config: ExtractionConfig) -> _Work:
    assert config.tiles is not None
    patients = read_tile_table(config.tiles, base=config.images)
    base = config.tiles.parent if config.images is None else config.images
    check_images_are_there([path for patient in patients for path in patient.images], base)
    field_px = config.field_px or FIELD_PX
    cohort = implied_cohort(study, patients, columns_by_image(config.tiles, patients))
    print("".join(f"note: {note}\n" for note in cohort.notes), end="")
    own = [patient for patient in patients if config.part.holds(patient.bag_id)]

    def on_cluster(_: Sharing) -> list[EncoderStatus]:
        raise AssertionError("the settings refuse it")

    return _Work(
        study=study, tile_px=field_px, tile_um=0.0, prepare=cohort.write,
        left_out=config.part.left_out(patient.bag_id for patient in patients),
        extract=lambda embedders, sharing: extract_tile_table(study, own, config, embedders, field_px, sharing),
        on_cluster=on_cluster,
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
