"""A page as a value: warnings, paragraphs, tables with links, pictures beside it; templates/ has the markup, escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from common.files import write_text
from common.templates import render
from mil.runs.notices import SYNTHETIC, SYNTHETIC_MODEL, USE

ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A paragraph; `kind` is "note" for small print, "warning" for what must not be missed."""

    form: ClassVar[str] = "words"
    words: str
    kind: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A cell that leads to a file beside the page."""

    words: str
    place: tuple[str, ...]  # folders and file from the page's folder

    @property
    def address(self) -> str:
        """The relative address; names are quoted, so that no name leads elsewhere."""
        return "/".join(part if part == ".." else quote(part, safe="") for part in self.place)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """A table: a head, and rows of texts, numbers and links; `marked` rows stand out."""

    form: ClassVar[str] = "listing"
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | float | Link, ...], ...]
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture in a file beside the page."""

    form: ClassVar[str] = "picture"
    place: tuple[str, ...]
    says: str  # for who cannot see it
    caption: str

    @property
    def address(self) -> str:
        """The relative address."""
        return Link(words="", place=self.place).address


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A picture drawn here, as SVG."""

    form: ClassVar[str] = "drawing"
    svg: str
    caption: str


Block = Words | Listing | Picture | Drawing


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a page under a heading."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A page."""

    title: str
    lead: str
    parts: tuple[Part, ...]
    warnings: tuple[str, ...] = ()
    is_synthetic: bool = False  # the slides are painted and the patients invented
    is_by_synthetic_model: bool = False  # the model learnt from such; the slides may be real
    back: Link | None = None


def write_page(path: Path, page: Page) -> None:
    """Write a page, atomically."""
    synthetic = SYNTHETIC if page.is_synthetic else SYNTHETIC_MODEL if page.is_by_synthetic_model else ""
    write_text(path, render(Path(__file__).parent, "page.html", page=page, use=USE, synthetic=synthetic))


def shown(value: object) -> str:
    """Return a cell as it is shown: numbers to four places, rounding errors as 0, and what is empty says so."""
    if isinstance(value, float):
        value = 0.0 if abs(value) < ROUNDING else value
        return f"{value:.4g}" if value == value else "none"  # noqa: PLR0124  (NaN)
    return "none" if value is None or value == "" else str(value)


def cells(values: Sequence[object]) -> tuple[str | float | Link, ...]:
    """Return a row of a listing."""
    return tuple(value if isinstance(value, Link) else shown(value) for value in values)
