"""A table file as rows of text: CSV and TSV by the standard library, so that no command waits for pandas; Excel, Parquet by it.

Read as it is meant where that is certain (the only separator in the header, UTF-16 with its mark, the one sheet with slides,
zeros that Excel shows), else refused by its cause.

What counts as missing is what pandas counts, and what TCGA and GDC write for it; invisible characters are taken off. Both are
counted and said. Columns without a name (what spreadsheets leave at the end, a frame's index) are
passed over. A row keeps the number that a spreadsheet shows for it: the header is row 1.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.failures import StudyError
from common.table_cells import text_of

if TYPE_CHECKING:
    import pandas as pd

EXCEL_ENDINGS = frozenset({".xlsx", ".xls"})
EXCEL_DIGITS = 15  # that a number keeps
UNNAMED = re.compile(r"Unnamed: \d+")  # what pandas writes for a column without a name
ZERO_FORMAT = re.compile(r"0{2,}")
SEPARATORS = ",;\t"
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
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
        lines = _reader(path)(path)
    except StudyError:
        raise
    except Exception as error:  # a damaged workbook raises what its reader came upon: KeyError, zlib.error ...
        raise StudyError(f"{path}: not readable as a table ({error})") from error
    invisible = _Invisible()
    columns = tuple(invisible.taken_off(name, 1).strip() for name in lines.header)
    named = [index for index, name in enumerate(columns) if name and not UNNAMED.fullmatch(name)]
    double = sorted({name for name in columns if name and columns.count(name) > 1})
    if double:
        raise StudyError(f"{path}: two columns have the name {', '.join(double)}; rename one")
    rows = []
    missing_words: Counter[tuple[str, str]] = Counter()
    for number, cells in lines.rows:
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
    return TextTable(names, tuple(rows), dict(in_order), (*lines.notes, *invisible.notes))


def _reader(path: Path) -> Callable[[Path], _Lines]:
    ending = path.suffix.lower()
    return _excel_lines if ending in EXCEL_ENDINGS else _parquet_lines if ending == ".parquet" else _csv_lines


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


@dataclass(frozen=True)
class _Lines:
    """The cells of a table as they stand in the file, with the numbers of their rows, and what is to be known of them."""

    header: Sequence[str]
    rows: Sequence[tuple[int, Sequence[str | None]]]
    notes: tuple[str, ...] = ()


def _csv_lines(path: Path) -> _Lines:
    text = _decoded(path.read_bytes())
    first, line_end, rest = text.partition("\n")
    named = SEPARATOR_LINE.fullmatch(first.rstrip("\r"))  # Excel's own first line, which other programs show as a row
    if named and line_end:
        text, first = rest, rest.partition("\n")[0]
    separator = named[1] if named else _separator(first, "\t" if path.suffix.lower() == ".tsv" else ",")
    cells: Iterator[list[str]] = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines = ([text_of(cell) for cell in row] for row in cells)
    numbered: list[tuple[int, Sequence[str | None]]] = [
        (number, cells) for number, cells in enumerate(lines, 2 if named else 1) if cells
    ]
    if not numbered:
        raise ValueError("it is empty")
    return _Lines([str(cell) for cell in numbered[0][1]], numbered[1:])


def _decoded(raw: bytes) -> str:
    """Return a file's text: UTF-8, or UTF-16 where its mark says so.

    Raises:
        ValueError: it is neither; what another encoding means cannot be known.
    """
    try:
        return raw.decode("utf-16" if raw.startswith(UTF_16_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"it is not in UTF-8: row {row} has the byte 0x{raw[error.start]:02x}, as in Latin-1 or Windows-1252; "
            f"save it as CSV UTF-8"
        ) from error


def _separator(header: str, usual: str) -> str:
    """Return what separates the names of the header, where only one sign can."""
    found = [sign for sign in SEPARATORS if sign in header]
    return found[0] if usual not in header and len(found) == 1 else usual


def _parquet_lines(path: Path) -> _Lines:
    import pandas as pd

    table = pd.read_parquet(path)
    if any(name is not None for name in table.index.names):  # ids in the index
        table = table.reset_index()
    return _Lines([str(name) for name in table.columns], list(enumerate(_texts(table.astype("string")), 2)))


def _texts(table: pd.DataFrame) -> list[tuple[str | None, ...]]:
    return list(table.astype(object).where(table.notna(), None).itertuples(index=False, name=None))


def _excel_lines(path: Path) -> _Lines:
    """Read the sheet that has slides: the first, or the only one with a column slide_id."""
    import pandas as pd

    sheets = pd.read_excel(path, dtype=str, header=None, sheet_name=None)
    texts = {name: [list(row) for row in _texts(table)] for name, table in sheets.items()}
    fitting = [name for name, rows in texts.items() if rows and "slide_id" in rows[0]]
    chosen = fitting[0] if len(fitting) == 1 else next(iter(texts))
    rows = texts[chosen]
    if not rows:
        raise ValueError("it is empty")
    if path.suffix.lower() == ".xlsx":
        _write_as_shown(path, chosen, rows)
    notes = (f"the sheet {chosen!r} is read, of {', '.join(map(repr, texts))}",) if len(texts) > 1 else ()
    return _Lines([name or "" for name in rows[0]], list(enumerate(rows[1:], 2)), notes)


def _write_as_shown(path: Path, sheet: str, rows: list[list[str | None]]) -> None:
    """Give numbers with a format such as 0000 the zeros that Excel shows.

    Raises:
        ValueError: a whole number has more digits than Excel keeps.
    """
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        for number, (texts, cells) in enumerate(zip(rows, book[sheet].rows, strict=False), 1):
            for index, cell in enumerate(cells[: len(texts)]):
                if not isinstance(cell.value, int | float) or cell.value != cell.value // 1:
                    continue
                if abs(cell.value) >= 10**EXCEL_DIGITS:
                    raise ValueError(
                        f"row {number}: {int(cell.value)} has more than {EXCEL_DIGITS} digits, and a spreadsheet changes those "
                        f"behind them; make the column text and fill it in anew"
                    )
                if ZERO_FORMAT.fullmatch(cell.number_format or ""):
                    texts[index] = str(int(cell.value)).zfill(len(cell.number_format))
    finally:
        book.close()
