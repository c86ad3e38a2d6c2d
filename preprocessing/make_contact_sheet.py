"""Make one page with the preview of every slide of a study, to sort and filter: tiles/contact_sheet.html.

Reads tiles/status.csv, which tile_slides.py leaves. Open the page in any browser; it needs no network.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import StudyError, command
from common.files import read_named_rows
from common.settings import option, parse_config
from common.study import open_study


@dataclass(frozen=True, kw_only=True)
class ContactSheetConfig:
    """The settings of make_contact_sheet.py."""

    study: Path = option(Path("study"), help="study folder", group="study")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and say where it is."""
    config = parse_config(ContactSheetConfig, argv, section="make_contact_sheet", description=__doc__)
    study = open_study(config.study)
    from preprocessing.tiling.contact_sheet import write_contact_sheet

    status_file, page = study.tiles / "status.csv", study.tiles / "contact_sheet.html"
    if not status_file.is_file():
        raise StudyError(f"no table {status_file}; run preprocessing/tile_slides.py --study {config.study} first")
    rows = read_named_rows(status_file)
    if rows and "slide_id" not in rows[0]:
        raise StudyError(f"{status_file} has no column slide_id; run preprocessing/tile_slides.py again")
    write_contact_sheet(page, rows, study.previews)
    print(f"{len(rows)} slides: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
