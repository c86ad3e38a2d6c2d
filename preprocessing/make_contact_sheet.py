"""Make one page with the preview of every slide of a study, to sort and filter: tiles/contact_sheet.html.

Reads tiles/status.csv, which tile_slides.py leaves. Open the page in any browser; it needs no network.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import option, parse_config


@dataclass(frozen=True, kw_only=True)
class ContactSheetConfig:
    """The settings of make_contact_sheet.py."""

    study: Path = option(Path("study"), help="study folder", group="study")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and say where it is."""
    config = parse_config(ContactSheetConfig, argv, section="make_contact_sheet", description=__doc__)
    from preprocessing.tiling.contact_sheet import draw_contact_sheet

    sheet = draw_contact_sheet(config.study)
    print(f"{sheet.n_slides} slides: {sheet.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
