"""The building blocks of the report: style, sections with their TRIPOD+AI items, tables, figures; everything escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2530; max-width: 64rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid #d5dae1; }
h3 { font-size: 1rem; margin: 1.3rem 0 .3rem; }
h2 .items { float: right; font-size: .78rem; font-weight: 400; color: #66717f; padding-top: .25rem; }
p.lead { font-size: 1.08rem; background: #f2f5f9; border-left: 4px solid #4269d0; padding: .7rem 1rem; }
p.use { color: #7a2d12; font-weight: 600; margin: .2rem 0 1rem; }
p.note { font-size: .87rem; color: #55606e; max-width: 52rem; }
nav { font-size: .87rem; margin: 0 0 1rem; }
nav a { color: #2f56b8; margin-right: .9rem; text-decoration: none; white-space: nowrap; }
table { border-collapse: collapse; margin: .5rem 0 1rem; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .25rem .9rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e8ebef; }
th { font-weight: 600; color: #46505e; } td.n { text-align: right; } td.hash { word-break: break-all; }
td.ok { color: #1c7a3d; font-weight: 600; } td.warning { color: #9a6200; font-weight: 600; }
td.leak { color: #b3261e; font-weight: 700; }
figure { display: inline-block; margin: .3rem 1.2rem 1rem 0; vertical-align: top; max-width: 100%; }
figure svg { max-width: 100%; height: auto; } figcaption { font-size: .86rem; color: #55606e; max-width: 28rem; }
ol.flow { list-style: none; margin: .6rem 0 1rem; padding: 0; max-width: 44rem; }
ol.flow li { border: 1px solid #cfd6df; border-radius: 5px; padding: .4rem .8rem; margin: 0 0 .95rem; position: relative; }
ol.flow li:not(:last-child)::after { content: "↓"; position: absolute; left: 1.2rem; bottom: -1.25rem; color: #8a94a1; }
ol.flow li.lost { margin-left: 3rem; background: #fff; border-style: dashed; color: #55606e; font-size: .92rem; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: #f5f6f8; }
pre { padding: .6rem .8rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: .4rem 0; } summary { cursor: pointer; }
@media print {
  body { margin: 0; max-width: none; font-size: 11px; } nav { display: none; } figure, table, ol.flow li { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
"""


def text(value: object) -> str:
    """Escape anything for HTML."""
    return html.escape(str(value))


def paragraph(words: str, kind: str = "") -> str:
    """Return an escaped paragraph."""
    return f"<p{f' class={kind}' if kind else ''}>{text(words)}</p>"


def section(title: str, body: Iterable[str], *, key: str, items: str = "") -> str:
    """Return a section; `items` are the items of TRIPOD+AI (Collins et al. 2024) that it serves."""
    aside = f"<span class='items'>TRIPOD+AI {text(items)}</span>" if items else ""
    return f"<section id='{key}'><h2>{aside}{text(title)}</h2>{''.join(body)}</section>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, verdict_column: int | None = None) -> str:
    """Return a table; numbers stand to the right, and a column of verdicts is coloured."""

    def cell(column: int, value: object) -> str:
        words = str(value)
        is_number = words.replace(".", "", 1).replace("-", "", 1).replace("+", "", 1).isdigit()
        kind = words if column == verdict_column and words in ("ok", "warning", "leak") else "n" if is_number else ""
        kind = "hash" if not kind and len(words) > 40 and " " not in words else kind
        return f"<td{f' class={kind}' if kind else ''}>{text(words)}</td>"

    body = "".join(f"<tr>{''.join(cell(at, value) for at, value in enumerate(row))}</tr>" for row in rows)
    return f"<table><thead><tr>{''.join(f'<th>{text(name)}</th>' for name in head)}</tr></thead><tbody>{body}</tbody></table>"


def figure(name: str, caption: str, figures: Mapping[str, str]) -> str:
    """Return a figure as inline SVG, its ids its own; empty when it was not drawn."""
    if name not in figures:
        return ""
    svg = figures[name][figures[name].index("<svg") :]
    for mark in ('id="', "#"):  # ids of two inline figures must not meet: <use> would take the other's glyph
        svg = svg.replace(mark + "DejaVu", f"{mark}{name}-DejaVu")
    return f"<figure>{svg}<figcaption>{text(caption)} <code>figures/{text(name)}.csv</code></figcaption></figure>"


def folded(title: str, body: str, *, is_open: bool = False) -> str:
    """Return a part that can be opened."""
    return f"<details{' open' if is_open else ''}><summary>{text(title)}</summary>{body}</details>"


def with_interval(value: Mapping[str, float | None] | None, *, signed: bool = False) -> str:
    """Return a figure with its interval."""
    if value is None or value["value"] is None:
        return "not defined"
    sign = "+" if signed else ""
    span = (
        ""
        if value["low"] is None
        else f" ({value['low']:{sign}.3f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{value['high']:{sign}.3f})"
    )
    return f"{value['value']:{sign}.3f}{span}"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number, or nothing where it is not defined."""
    return "" if value is None else f"{value:.{digits}f}"


def p_value(value: float | None) -> str:
    """Return a p value."""
    return "not defined" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
