"""What a page of the report is made of, as values: sections of paragraphs, tables, pictures; templates/ has the markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from mil.metrics.bootstrap import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Paragraph:
    """A paragraph; `kind` is "note" for small print."""

    form: ClassVar[str] = "paragraph"
    words: str
    kind: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """A heading inside a section."""

    form: ClassVar[str] = "heading"
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A cell of a table; `kind` says how it stands: a number, a hash, a verdict."""

    words: str
    kind: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table."""

    form: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Illustration:
    """A picture as inline SVG, its ids its own, and what it shows."""

    form: ClassVar[str] = "illustration"
    name: str
    caption: str
    svg: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Folded:
    """A table that can be opened."""

    form: ClassVar[str] = "folded"
    title: str
    table: Table
    is_open: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """Steps one below the other: (kind, words); the kind of a step that leads away is "lost"."""

    form: ClassVar[str] = "flow"
    steps: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """Lines as they are typed."""

    form: ClassVar[str] = "code"
    text: str


Block = Paragraph | Heading | Table | Illustration | Folded | Flow | Code


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A section; `items` are the items of TRIPOD+AI (Collins et al. 2024) that it serves."""

    key: str
    title: str
    items: str
    body: tuple[Block, ...]


PATIENT = re.compile(r"\b([Pp])atient(s?)\b(?! bootstrap)")


def words_of_unit(words: str, unit: str) -> str:
    """Return words on patients as words on the unit; who is drawn by the bootstrap stays a patient."""
    if unit == "patient":
        return words
    return PATIENT.sub(lambda found: (unit.capitalize() if found[1] == "P" else unit) + found[2], words)


def in_words_of(section: Section, unit: str) -> Section:
    """Return a section on patients as one on the unit."""
    if unit == "patient":
        return section
    return replace(
        section, title=words_of_unit(section.title, unit), body=tuple(_block_of(block, unit) for block in section.body)
    )


def _block_of(block: Block, unit: str) -> Block:
    if isinstance(block, Paragraph | Heading):
        return replace(block, words=words_of_unit(block.words, unit))
    if isinstance(block, Table):
        return _table_of(block, unit)
    if isinstance(block, Illustration):
        return replace(block, caption=words_of_unit(block.caption, unit))
    if isinstance(block, Folded):
        return replace(block, title=words_of_unit(block.title, unit), table=_table_of(block.table, unit))
    return block


def _table_of(own: Table, unit: str) -> Table:
    head = tuple(words_of_unit(name, unit) for name in own.head)
    rows = tuple(tuple(replace(cell, words=words_of_unit(cell.words, unit)) for cell in row) for row in own.rows)
    return Table(head=head, rows=rows)


def note(words: str) -> Paragraph:
    """Return small print."""
    return Paragraph(words=words, kind="note")


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, verdict_column: int | None = None) -> Table:
    """Return a table; numbers stand to the right, a column of verdicts is coloured, and what is empty says so."""

    def cell(column: int, value: object) -> Cell:
        words = "none" if value is None or value == "" else str(value)
        is_number = words.replace(".", "", 1).replace("-", "", 1).replace("+", "", 1).isdigit()
        kind = words if column == verdict_column and words in ("ok", "warning", "leak") else "n" if is_number else ""
        kind = "hash" if not kind and len(words) > 40 and " " not in words else kind
        return Cell(words=words, kind=kind)

    return Table(head=tuple(head), rows=tuple(tuple(cell(at, value) for at, value in enumerate(row)) for row in rows))


def illustration(name: str, caption: str, pictures: Mapping[str, str]) -> list[Illustration]:
    """Return a picture, as SVG among `pictures`; nothing when it was not drawn."""
    if name not in pictures:
        return []
    svg = pictures[name][pictures[name].index("<svg") :]
    for mark in (
        ' id="',
        'href="#',
        "url(#",
    ):  # ids of two inline pictures must not meet: <use> would take the other's mark
        svg = svg.replace(mark, f"{mark}{name}-")
    svg = svg.replace('"title description"', f'"{name}-title {name}-description"', 1)
    return [Illustration(name=name, caption=caption, svg=svg)]


def interval_text(value: Interval | None, *, signed: bool = False) -> str:
    """Return `with_interval` for the screen and plain tables: with ordinary blanks."""
    return with_interval(value, signed=signed).replace("\N{NO-BREAK SPACE}", " ")


def with_interval(value: Interval | None, *, signed: bool = False) -> str:
    """Return a metric with its interval."""
    if value is None or value.value is None:
        return "not defined"
    sign = "+" if signed else ""
    span = (
        ""
        if value.low is None or value.high is None
        else f" ({value.low:{sign}.3f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{value.high:{sign}.3f})"
    )
    return f"{value.value:{sign}.3f}{span}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, or a word where it is not defined."""
    return "not defined" if value is None else f"{value:.{digits}f}"


def counted(n: int, noun: str) -> str:
    """Return a count with its noun: 1 patient, 2 patients."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def p_value(value: float | None) -> str:
    """Return a p value."""
    return "not defined" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
