"""Embed the tiles of every slide of a study with a frozen CNN.

Workers read tiles ahead and map their colours to the reference; the network embeds them (OpenVINO on a CPU, float16 on a
GPU). Leaves features/<encoder>/<slide>.h5 and status.csv. With --tiles it embeds a table of tile images instead, one bag
a patient, and keeps the table's labels and sets as the study's cohort.csv.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command, exit_code, failure_table, write_status
from common.parallel import default_workers
from common.settings import parse_config
from common.study import Study, find_slides, open_study
from features.extraction import (
    ExtractionConfig,
    encoder_attributes,
    extract_slides,
    extract_tile_table,
)
from features.tile_table import read_tile_table, write_cohort_of_tiles

FIELD_PX = 256  # of a tile table's images


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Embed the study and say what became of each slide."""
    config = parse_config(ExtractionConfig, argv, section="extract_features", description=__doc__)
    from features.encoder import find_card

    card = find_card(config.encoder)
    if config.tiles is None:
        study = open_study(config.study)
        from common.cohort import read_cohort

        slides = read_cohort(study.cohort_table, where=config.where).slides["slide_id"].tolist()
        files = find_slides(study.slides)
    else:
        study = Study(config.study)
        patients = read_tile_table(config.tiles, base=config.images)
        write_cohort_of_tiles(study, patients)
    tile_px = FIELD_PX if config.tiles is not None else _tile_px(study, slides)
    from features.encoder import build_encoder
    from features.runtime import bind, default_batch

    encoder = build_encoder(card, config.weights)
    batch = config.batch or default_batch(config.device)
    threads = config.threads or default_workers()
    runtime = bind(encoder, device=config.device, batch=batch, tile_px=tile_px, threads=threads)
    made_by = encoder_attributes(card, encoder.weights_sha256, runtime)
    print(f"{card.name} ({card.licence}) on {runtime.name}, {runtime.precision}", flush=True)
    if config.tiles is None:
        statuses = extract_slides(study, files, slides, config, runtime, made_by)
    else:
        statuses = extract_tile_table(study, patients, config, runtime, made_by, FIELD_PX)
    status_file = study.features(card.name) / "status.csv"
    write_status(status_file, statuses)
    done = [row for row in statuses if row.state == "done"]
    n_tiles = sum(int(str(row.figures["n_tiles"])) for row in done)
    n_unreadable = sum(int(str(row.figures["n_unreadable"])) for row in done)
    print(
        failure_table(statuses) or f"{len(done)} bags, {n_tiles} embeddings, {n_unreadable} unreadable tiles left out"
    )
    print(f"status of each: {status_file}")
    return exit_code(statuses)


def _tile_px(study: Study, slides: Sequence[str]) -> int:
    """Return the pixel side of the study's tiles; without any tile file the slides fail one by one later."""
    from common.artifacts import read_attributes
    from common.failures import StudyError

    sides = set()
    for slide_id in slides:
        try:
            sides.add(int(read_attributes(study.tile_file(slide_id))["tile_px"]))
        except (ValueError, KeyError):
            continue  # named as that slide's failure when its turn comes
    if not sides:
        raise StudyError(f"no tile file in {study.tiles}; run preprocessing/tile_slides.py --study {study.root} first")
    if len(sides) > 1:
        raise StudyError(f"{study.tiles} mixes tiles of {sorted(sides)} px; rerun preprocessing/tile_slides.py")
    return sides.pop()


if __name__ == "__main__":
    sys.exit(main())
