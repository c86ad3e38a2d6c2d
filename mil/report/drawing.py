"""Axes, colours and SVG text of every picture, and where matplotlib keeps its list of fonts."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Told apart with any colour vision (Okabe and Ito 2008, Color Universal Design); the yellow, too pale on white, is last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000", "#F0E442")
DASHES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p")
GREY, PALE = "#5f5f5f", "#bbbbbb"
LEAST_POINTS = 10.5  # of letters, in print


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one of several series looks: no two alike, in colour, dashes and marker, until all eight colours are used."""

    colour: str
    dashes: Any
    marker: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A drawing, the table behind it, and what is said to who does not see it."""

    figure: Figure
    names: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str
    description: str


def style_of(index: int) -> Style:
    """Return the look of a series by its place; looks repeat after 440."""
    return Style(
        colour=COLOURS[index % len(COLOURS)], dashes=DASHES[index % len(DASHES)], marker=MARKERS[index % len(MARKERS)]
    )


def keep_home_clean() -> None:
    """Give matplotlib a folder that goes when the process ends, unless it has one; call it before matplotlib is imported.

    Else it leaves its list of fonts in the home folder.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "matplotlib"
    if "MPLCONFIGDIR" in os.environ or any(cache.glob("fontlist-*.json")):
        return  # a list that is there already saves looking through all fonts
    folder = tempfile.mkdtemp(prefix="fonts-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["MPLCONFIGDIR"] = folder


def readable_letters() -> AbstractContextManager[None]:
    """Return a context in which all letters are drawn large enough to print; pictures are drawn and saved in it."""
    import matplotlib

    return matplotlib.rc_context({"font.size": LEAST_POINTS, "font.family": "sans-serif"})


def round_ticks(end: float) -> list[float]:
    """Return some six round numbers from 0 to at most `end`."""
    from matplotlib.ticker import MaxNLocator

    marks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(0, end)
    return [float(mark) for mark in marks if 0 <= mark <= end]


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure without pyplot's global state."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_svg(picture: Picture) -> str:
    """Return a drawing as SVG text that is the same on every run: no dates, no random ids; text is text, and it has a name."""
    import matplotlib
    from matplotlib.text import Text

    buffer = io.StringIO()
    for written in picture.figure.findobj(Text):
        written.set_parse_math(False)  # a dollar in a name is a dollar
    with readable_letters(), matplotlib.rc_context({"svg.hashsalt": "sarcoma-mil", "svg.fonttype": "none"}):
        picture.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    title, description = escape(picture.title), escape(picture.description)
    named = f'<title id="title">{title}</title>\n <desc id="description">{description}</desc>'
    opening = '<svg role="img" aria-labelledby="title description"'
    before, after = buffer.getvalue().split("<svg", 1)
    attributes, inner = after.split(">", 1)
    return f"{before}{opening}{attributes}>\n {named}{inner}"
