"""Embed the tiles of every slide of a study with a frozen CNN.

Workers read tiles ahead; on the device that embeds they are resized, their colours mapped to the reference, and embedded
(OpenVINO on a CPU, PyTorch on a GPU). A slide that was interrupted goes on where it stopped. Leaves
features/<encoder>/<slide>.h5 and status.csv. python features/encoders.py lists the encoders. With --tiles it embeds a
table of tile images instead, one bag a patient, and keeps the table's labels and sets as the study's cohort.csv.
"""

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import SlideStatus, command, earlier_statuses, exit_code, failure_table, write_status
from common.settings import parse_config
from common.slide_files import find_slides
from common.study import Study, open_study
from features.embedding.embedders import ready_embedder, scale_note
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.image_jobs import extract_tile_table
from features.embedding.jobs import Embedder
from features.embedding.slide_jobs import extract_slides
from features.embedding.tile_table import read_tile_table, write_cohort_of_tiles

FIELD_PX = 256  # of a tile table's images


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Embed the study and say what became of each slide."""
    config = parse_config(ExtractionConfig, argv, section="extract_features", description=__doc__)
    from features.encoder.registry import find_card

    if config.tiles is None:
        study = open_study(config.study)
        from common.cohort import read_cohort

        cohort = read_cohort(study.cohort_table, where=config.where)
        slides, left_out = [row["slide_id"] for row in cohort.rows], cohort.left_out
        files = find_slides(study.slides)
    else:
        study = Study(config.study)
        patients = read_tile_table(config.tiles, base=config.images)
        write_cohort_of_tiles(study, patients)
        left_out = frozenset()
    tile_px, tile_um = (FIELD_PX, 0.0) if config.tiles is not None else _tile_sides(study, slides)
    cards = [find_card(name) for name in config.encoders]
    embedders = [ready_embedder(card, config, tile_px) for card in cards]
    if config.tiles is None and config.scales is None:
        print("".join(f"{note}\n" for card in cards if (note := scale_note(card, tile_um, tile_px))), end="")
    if config.tiles is None:
        statuses = extract_slides(study, files, slides, config, embedders)
    else:
        statuses = extract_tile_table(study, patients, config, embedders, FIELD_PX)
    for embedder in embedders:
        _report(study, embedder, [row for name, row in statuses if name == embedder.name], left_out)
    if shares := [f"{clock.share():.0%}" for clock in embedders[0].runtime.gpus]:  # encoders share the GPUs
        print(f"GPU busy from its first batch to its last: {', '.join(shares)} of the time")
    return exit_code([row for _, row in statuses])


def _report(study: Study, embedder: Embedder, statuses: Sequence[SlideStatus], left_out: Collection[str]) -> None:
    status_file = study.features(embedder.name) / "status.csv"
    write_status(status_file, [*statuses, *earlier_statuses(status_file, left_out)])
    done = [row for row in statuses if row.state == "done"]
    n_tiles = sum(int(str(row.figures["n_tiles"])) for row in done)
    n_unreadable = sum(int(str(row.figures["n_unreadable"])) for row in done)
    print(
        failure_table(statuses) or f"{len(done)} bags, {n_tiles} embeddings, {n_unreadable} unreadable tiles left out"
    )
    print(f"status of each: {status_file}")


def _tile_sides(study: Study, slides: Sequence[str]) -> tuple[int, float]:
    """Return the side of the study's tiles in pixels and µm; without any tile file the slides fail one by one later."""
    from common.arrays import read_attributes
    from common.failures import StudyError

    sides, sides_um = set(), set()
    for slide_id in slides:
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


if __name__ == "__main__":
    sys.exit(main())
