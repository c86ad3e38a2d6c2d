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

from common.failures import command, earlier_statuses, exit_code, failure_table, status_row, write_status
from common.settings import parse_config
from common.slide_files import find_slides
from common.study import open_study
from preprocessing.tiling.tiling_settings import TilingConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Tile the slides of a study and say what became of each."""
    config = parse_config(TilingConfig, argv, section="tile_slides", description=__doc__)
    study = open_study(config.study)
    from common.cohort import read_cohort
    from preprocessing.tiling.contact_sheet import write_contact_sheet
    from preprocessing.tiling.study_tiles import summary, tile_study

    cohort, status_file = read_cohort(study.cohort_table, where=config.where), study.tiles / "status.csv"
    statuses = tile_study(study, find_slides(study.slides), cohort.rows, config)
    known = [*statuses, *earlier_statuses(status_file, cohort.left_out)]
    write_status(status_file, known)
    sheet = study.tiles / "contact_sheet.html"
    write_contact_sheet(sheet, [status_row(status) for status in known], study.previews)
    print(failure_table(statuses) or summary(statuses))
    print(f"status of each slide: {status_file}; all previews on one page, to look through: {sheet}")
    return exit_code(statuses)


if __name__ == "__main__":
    sys.exit(main())
