"""A clinical table to fill in: a row for each slide that is there, labels left empty; without slides, rows that are examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from common.cohort import TCGA_BARCODE
from common.files import read_rows, write_table

COLUMNS = ("patient_id", "slide_id", "subtype", "time", "event", "site")
EXAMPLES = (
    ("EXAMPLE-1", "EXAMPLE-1-A", "LMS", "31.5", "1", "Mainz"),
    ("EXAMPLE-1", "EXAMPLE-1-B", "LMS", "31.5", "1", "Mainz"),
    ("EXAMPLE-2", "EXAMPLE-2-A", "UPS", "60.0", "0", "Kiel"),
)


def write_sample(path: Path, slide_ids: Sequence[str]) -> None:
    """Write a table to fill in.

    Nobody but its owner knows which slides are of one patient, and a wrong guess would put a patient on both sides of a
    fold: patient_id is filled only where a TCGA barcode tells it.

    Args:
        path: the table, which is not there.
        slide_ids: the slides that are there; none: examples take their place.
    """
    write_table(path, COLUMNS, [_row(slide_id) for slide_id in slide_ids] if slide_ids else EXAMPLES)


def is_examples(path: Path) -> bool:
    """Return whether a table is still the one of examples, in which nothing of its owner stands."""
    if path.suffix != ".csv" or not path.is_file():
        return False
    return [tuple(row) for row in read_rows(path) if row] == [COLUMNS, *EXAMPLES]


def _row(slide_id: str) -> tuple[str, ...]:
    barcode = TCGA_BARCODE.search(slide_id)
    patient, site = (barcode["patient"], barcode["site"]) if barcode else ("", "")
    return (patient, slide_id, "", "", "", site)
