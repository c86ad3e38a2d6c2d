"""Cells of CSV tables that a spreadsheet would take for a formula: an apostrophe before them makes them text, and goes on reading.

A slide may be called =1+1, or something that a spreadsheet would run. Numbers stay as they are, also negative ones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(
    r"'*[=+\-@\t\r\n＝＋－＠].", re.DOTALL
)  # and what already has the apostrophe, to tell it from ours
_MARKED = re.compile(r"'+[=+\-@\t\r\n＝＋－＠].", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def cell_of(value: object) -> object:
    """Return a value as it stands in a table: a text that is no number and would be a formula has an apostrophe before it."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def text_of(cell: str) -> str:
    """Return the text that a cell was written for: the way back of `cell_of`."""
    return cell[1:] if _MARKED.match(cell) else cell


def with_texts(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table read by pandas with the texts that its cells and names of columns were written for."""
    table = table.rename(columns=text_of)
    for name in table.columns:
        if table[name].dtype.kind not in "biufc":
            table[name] = table[name].map(lambda cell: text_of(cell) if isinstance(cell, str) else cell)
    return table
