"""Axes, colours and SVG text of every picture, and where matplotlib keeps its list of fonts."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#9c6b4e", "#a463f2", "#97bbf5", "#3ca951")


@dataclass(frozen=True)
class Picture:
    """A drawing and the table behind it."""

    figure: Figure
    names: Sequence[str]
    rows: Sequence[Sequence[object]]


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


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return an empty figure without pyplot's global state."""
    from matplotlib.figure import Figure as NewFigure

    figure = NewFigure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def as_svg(figure: Figure) -> str:
    """Return a drawing as SVG text that is the same on every run: no dates, no random ids."""
    import matplotlib
    from matplotlib.text import Text

    buffer = io.StringIO()
    for written in figure.findobj(Text):
        written.set_parse_math(False)  # a dollar in a name is a dollar
    with matplotlib.rc_context({"svg.hashsalt": "sarcoma-mil", "svg.fonttype": "path", "font.size": 9}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
