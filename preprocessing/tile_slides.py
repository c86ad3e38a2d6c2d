"""Find the tissue on every slide of a study, lay a grid of tiles over it, and fit the slide's stains.

A tile is the same size in micrometres on every slide. Leaves tiles/<slide>.h5 (tile file), tiles/<slide>.geojson
(outline), tiles/previews/<slide>.jpg, tiles/contact_sheet.html (all previews on one page) and tiles/status.csv (one row a
slide). Edit an outline in QuPath, export it over the old one and run again: yours is used, areas of class Ignore are cut.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command, exit_code, failure_table
from common.settings import parse_config
from preprocessing.tiling.tiling_settings import TilingConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Tile the slides of a study and say what became of each."""
    config = parse_config(TilingConfig, argv, section="tile_slides", description=__doc__)
    from preprocessing.tiling.study_tiles import summary, tile_study

    tiled = tile_study(config.study, config)
    print(failure_table(tiled.statuses) or summary(tiled.statuses))
    for note in tiled.notes:
        print(note)
    print(
        f"status of each slide: {tiled.status_file}; all previews on one page, to look through: {tiled.contact_sheet}"
    )
    return exit_code(tiled.statuses)


if __name__ == "__main__":
    sys.exit(main())
