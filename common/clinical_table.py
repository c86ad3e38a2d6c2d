"""A table file as rows of text: CSV and TSV by the standard library, so that no command waits for pandas; Excel, Parquet by it.

What counts as missing is what pandas counts. Columns without a name (what spreadsheets leave at the end, a frame's index) are
passed over. A row keeps the number that a spreadsheet shows for it: the header is row 1.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError
from common.table_cells import text_of

EXCEL_ENDINGS = frozenset({".xlsx", ".xls"})
MISSING = frozenset(  # pandas.read_csv's default na_values
    "#N/A,#N/A N/A,#NA,-1.#IND,-1.#QNAN,-NaN,-nan,1.#IND,1.#QNAN,<NA>,N/A,NA,NULL,NaN,None,n/a,nan,null,".split(",")  # noqa: SIM905 one line reads better
)


@dataclass(frozen=True)
class TextTable:
    """Column names, and rows as (number, column to text); a missing value is None. Empty rows are left out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str | None]], ...]


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
    columns = tuple(name.strip() for name in header)
    named = [index for index, name in enumerate(columns) if name]
    double = sorted({name for name in columns if name and columns.count(name) > 1})
    if double:
        raise StudyError(f"{path}: two columns have the name {', '.join(double)}; rename one")
    rows = []
    for number, cells in lines:
        texts = [None if cell is None or cell in MISSING else cell.strip() or None for cell in cells]
        if any(text is not None for text in texts[len(columns) :]):
            raise StudyError(
                f"{path}: row {number} has {len(cells)} values, the header {len(columns)} columns; put a value that holds "
                f"a separator in quotation marks"
            )
        row = {columns[index]: texts[index] if index < len(texts) else None for index in named}
        if any(text is not None for text in row.values()):
            rows.append((number, row))
    if not rows:
        raise StudyError(f"{path}: the table has no rows; wanted one row a slide")
    return TextTable(tuple(columns[index] for index in named), tuple(rows))


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
