"""A table file as rows of text: CSV and TSV by the standard library, so that no command waits for pandas; Excel, Parquet by it.

What counts as missing is what pandas counts, and what TCGA and GDC write for it; invisible characters are taken off. Both are
counted and said. Columns without a name (what spreadsheets leave at the end, a frame's index) are
passed over. A row keeps the number that a spreadsheet shows for it: the header is row 1.
"""

import csv
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from common.failures import StudyError
from common.table_cells import text_of

EXCEL_ENDINGS = frozenset({".xlsx", ".xls"})
MISSING = frozenset(  # pandas.read_csv's default na_values
    "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null,".split(",")  # noqa: SIM905 one line reads better
)

PLACEHOLDERS = frozenset(  # of TCGA's and GDC's tables, in lower case
    {
        "--", "'--", "[not available]", "[not applicable]", "[not evaluated]", "[not reported]", "not reported", "[unknown]",
        "[discrepancy]", "[pending]", "[completed]",
    }
)  # fmt: skip
MAX_SHOWN = 12  # columns or rows in a note


@dataclass(frozen=True)
class TextTable:
    """Column names, and rows as (number, column to text); a missing value is None. Empty rows are left out.

    Attributes:
        missing_words: (column, word) to how many cells with it were read as missing.
        notes: what else was changed, for the reader of the table.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str | None]], ...]
    missing_words: Mapping[tuple[str, str], int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_missing_word(cell: str) -> bool:
    """Return whether a cell is a word for a missing value."""
    return cell in MISSING or cell.strip().lower() in PLACEHOLDERS


def missing_note(words: Mapping[tuple[str, str], int]) -> str:
    """Say which words were read as missing in which columns, and how often."""
    shown = [f"{column} {word!r} ({count})" for (column, word), count in words.items()]
    more = f" and {len(shown) - MAX_SHOWN} more" if len(shown) > MAX_SHOWN else ""
    return f"read as missing: {', '.join(shown[:MAX_SHOWN])}{more}"


def read_text_table(path: Path) -> TextTable:
    """Read a table by its ending: .xlsx, .xls, .parquet, .tsv, or commas.

    Raises:
        StudyError: it is missing, unreadable, has two columns of one name, a row longer than the header, or no rows.
    """
    if not path.is_file():
        raise StudyError(
            f"no clinical table at {path}; wanted one row a slide with the columns patient_id, slide_id, and "
            f"subtype (for --task subtype) or time and event (for --task survival)"
        )
    try:
        header, lines = _frame_lines(path) if path.suffix.lower() in EXCEL_ENDINGS | {".parquet"} else _csv_lines(path)
    except Exception as error:  # a damaged workbook raises what its reader came upon: KeyError, zlib.error ...
        raise StudyError(f"{path}: not readable as a table ({error})") from error
    invisible = _Invisible()
    columns = tuple(invisible.taken_off(name, 1).strip() for name in header)
    named = [index for index, name in enumerate(columns) if name]
    double = sorted({name for name in columns if name and columns.count(name) > 1})
    if double:
        raise StudyError(f"{path}: two columns have the name {', '.join(double)}; rename one")
    rows = []
    missing_words: Counter[tuple[str, str]] = Counter()
    for number, cells in lines:
        visible = [None if cell is None else invisible.taken_off(cell, number) for cell in cells]
        texts = [None if cell is None or is_missing_word(cell) else cell.strip() or None for cell in visible]
        if any(text is not None for text in texts[len(columns) :]):
            raise StudyError(
                f"{path}: row {number} has {len(cells)} values, the header {len(columns)} columns; put a value that holds "
                f"a separator in quotation marks"
            )
        row = {columns[index]: texts[index] if index < len(texts) else None for index in named}
        if any(text is not None for text in row.values()):
            rows.append((number, row))
        missing_words.update(
            (columns[index], cell.strip())
            for index, (cell, text) in enumerate(zip(visible[: len(columns)], texts, strict=False))
            if text is None and cell and cell.strip() and columns[index]
        )
    if not rows:
        raise StudyError(f"{path}: the table has no rows; wanted one row a slide")
    names = tuple(columns[index] for index in named)
    in_order = sorted(missing_words.items(), key=lambda item: (names.index(item[0][0]), item[0][1]))
    return TextTable(names, tuple(rows), dict(in_order), invisible.notes)


class _Invisible:
    """Takes characters that nobody sees (Unicode's category Cf: zero width, soft hyphen, byte order mark) off, and counts."""

    def __init__(self) -> None:
        self._signs: set[str] = set()
        self._rows: list[int] = []

    def taken_off(self, cell: str, row: int) -> str:
        """Return a cell without them."""
        if cell.isascii() or not (signs := {sign for sign in cell if unicodedata.category(sign) == "Cf"}):
            return cell
        self._signs |= signs
        self._rows.append(row)
        return "".join(sign for sign in cell if sign not in signs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken off where, in words; none where nothing was."""
        if not self._rows:
            return ()
        signs = ", ".join(f"U+{ord(sign):04X}" for sign in sorted(self._signs))
        return (f"invisible characters ({signs}) were taken off in {len(self._rows)} cell(s): {rows_text(self._rows)}",)


def rows_text(numbers: Sequence[int]) -> str:
    """Return the numbers of rows in words, the first few of many."""
    rows = sorted(set(numbers))
    if len(rows) == 1:
        return f"row {rows[0]}"
    more = f" and {len(rows) - MAX_SHOWN} more" if len(rows) > MAX_SHOWN else ""
    return f"rows {', '.join(map(str, rows[:MAX_SHOWN]))}{more}"


def _csv_lines(path: Path) -> tuple[list[str], list[tuple[int, Sequence[str | None]]]]:
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        cells: Iterator[list[str]] = csv.reader(file, delimiter=separator, strict=True)
        lines = ([text_of(cell) for cell in row] for row in cells)
        numbered: list[tuple[int, Sequence[str | None]]] = [
            (number, cells) for number, cells in enumerate(lines, 1) if cells
        ]
    if not numbered:
        raise ValueError("it is empty")
    return [str(cell) for cell in numbered[0][1]], numbered[1:]


def _frame_lines(path: Path) -> tuple[list[str], list[tuple[int, Sequence[str | None]]]]:
    import pandas as pd

    is_parquet = path.suffix.lower() == ".parquet"
    table = pd.read_parquet(path).astype("string") if is_parquet else pd.read_excel(path, dtype=str, header=None)
    texts = list(table.astype(object).where(table.notna(), None).itertuples(index=False, name=None))
    if is_parquet:
        return [str(name) for name in table.columns], list(enumerate(texts, 2))
    if not texts:
        raise ValueError("it is empty")
    return [name or "" for name in texts[0]], list(enumerate(texts[1:], 2))
