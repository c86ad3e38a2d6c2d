"""The contact sheet: one HTML page with the preview of every slide of a cohort, to sort, filter and look through.

Pictures are linked, not inlined: a few hundred previews would make a page of a hundred megabytes, while linked ones are
loaded as they come into view, so that thousands of slides open at once. The page needs no network and no server.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from urllib.parse import quote

from common.files import write_text

EXCLUDED = "n_excluded_"
SORTS = (  # header, key of the row's number or text
    ("slide", "slide_id"), ("flags", "n_flags"), ("tiles", "n_tiles"), ("left out", "n_out"),
    ("tissue mm²", "tissue_mm2"), ("µm/px", "mpp_x"), ("sharpness", "sharpness"),
)  # fmt: skip


def write_contact_sheet(path: Path, rows: Iterable[Mapping[str, object]], previews_folder: Path) -> None:
    """Write the page, atomically; the same rows in any order give the same bytes.

    Args:
        path: the HTML file.
        rows: status rows: slide_id, state, reason, remedy, mpp_x, mpp_y, mpp_source, tissue_mm2, n_tiles, n_excluded_...,
            flags (a list, or text parted by semicolons), sharpness (the slide's median), stain, stain_fallback. What is
            missing or empty is left blank.
        previews_folder: where <slide_id>.jpg lie; the page links to them relative to its own folder.
    """
    folder = Path(os.path.relpath(previews_folder, path.parent)).as_posix()
    there = {file.name for file in previews_folder.glob("*.jpg")} if previews_folder.is_dir() else set()
    ordered = sorted(rows, key=_order)
    cards = []
    for row in ordered:
        name = f"{row['slide_id']}.jpg"
        cards.append(_card(row, f"{folder}/{name}" if name in there else None))
    write_text(path, _page(ordered, cards))


def flags_of(row: Mapping[str, object]) -> list[str]:
    """Return a row's flags."""
    found = row.get("flags") or ""
    parts = found.split(";") if isinstance(found, str) else [str(part) for part in found]  # type: ignore[attr-defined]
    return [part.strip() for part in parts if part.strip()]


def flag_name(flag: str) -> str:
    """Return a flag without its share: "blurred 34%" is "blurred"."""
    return re.sub(r"\s*\d+\s*%$", "", flag)


def _order(row: Mapping[str, object]) -> tuple[bool, int, str]:
    """Failures first, then the most flags, then by name."""
    return row.get("state") != "failed", -len(flags_of(row)), str(row["slide_id"])


def _number(row: Mapping[str, object], key: str) -> float | None:
    try:
        value = float(str(row.get(key, "")))
    except ValueError:
        return None
    return None if math.isnan(value) else value  # NaN was not measured


def _n_out(row: Mapping[str, object]) -> float | None:
    counts = [_number(row, key) for key in row if key.startswith(EXCLUDED)]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _card(row: Mapping[str, object], link: str | None) -> str:
    slide_id, flags = str(row["slide_id"]), flags_of(row)
    is_failed = row.get("state") == "failed"
    numbers: dict[str, float | str | None] = {key: _number(row, key) for _, key in SORTS}
    numbers |= {"slide_id": slide_id, "n_flags": len(flags) + 100 * is_failed, "n_out": _n_out(row)}
    keys = "".join(
        f' data-{key}="{escape(str(value) if isinstance(value, str) else f"{value:.6g}")}"'
        for key, value in numbers.items()
        if value is not None
    )
    names = [flag_name(flag) for flag in flags] + ["failed"] * is_failed
    if link is None:
        picture = '<span class="none">no preview</span>'
    else:
        url = escape(quote(link, safe="/"))
        picture = (
            f'<a href="{url}" target="_blank"><img loading="lazy" decoding="async" src="{url}" '
            f'alt="preview of {escape(slide_id)}"></a>'
        )
    said = "".join(f'<span class="flag">{escape(flag)}</span> ' for flag in flags)
    if is_failed:
        said = '<span class="flag bad">failed</span> '
        said += f"{escape(str(row.get('reason', '')))} <em>{escape(str(row.get('remedy', '')))}</em>"
    return (
        f'<tr tabindex="0"{keys} data-names="{escape("|".join(names))}"{" class=failed" * is_failed}>'
        f'<td class="picture">{picture}</td><td class="name">{escape(slide_id)}</td><td class="said">{said}</td>'
        f"{_figures(row)}</tr>"
    )


def _figures(row: Mapping[str, object]) -> str:
    """Return the cells with numbers; what was not measured is empty."""
    n_out = _n_out(row)
    parts = [
        f"{key.removeprefix(EXCLUDED).replace('_', '-')} {count:g}"
        for key in sorted(row)
        if key.startswith(EXCLUDED) and (count := _number(row, key))
    ]
    mpp_x, mpp_y = _number(row, "mpp_x"), _number(row, "mpp_y")
    mpp = "" if mpp_x is None else f"{mpp_x:.4g}"
    if mpp_x is not None and mpp_y is not None and abs(mpp_x - mpp_y) > 0.005 * mpp_x:
        mpp += f" × {mpp_y:.4g}"
    stain = str(row.get("stain", "") or "")
    fallback = str(row.get("stain_fallback", "") or "")
    cells = (
        ("tiles", _shown(_number(row, "n_tiles"), "g"), ""),
        ("left out", _shown(n_out, "g"), ", ".join(parts)),
        ("mm²", _shown(_number(row, "tissue_mm2"), ".1f"), ""),
        ("µm/px", mpp, f"from: {row['mpp_source']}" if row.get("mpp_source") else ""),
        ("sharpness", _shown(_number(row, "sharpness"), ".2f"), ""),
        ("stain", f"{stain} (fallback)" if fallback else stain, fallback),
    )
    return "".join(
        f'<td class="figure" data-label="{label}"'
        + (f' title="{escape(more)}"' if more else "")
        + f">{escape(text)}</td>"
        for label, text, more in cells
    )


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _page(rows: list[Mapping[str, object]], cards: list[str]) -> str:
    n_failed = sum(row.get("state") == "failed" for row in rows)
    n_flagged = sum(bool(flags_of(row)) for row in rows)
    counts = Counter(name for row in rows for name in {flag_name(flag) for flag in flags_of(row)})
    options = [("", f"all {len(rows)}"), ("*", f"any flag or failure ({n_failed + n_flagged})")]
    options += [("failed", f"failed ({n_failed})")] if n_failed else []
    options += [(name, f"{name} ({counts[name]})") for name in sorted(counts)]
    choices = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" data-key="{key}">{name}</button></th>'
        for name, key in SORTS
    )
    title = f"{len(rows)} slides, {n_failed} failed, {n_flagged} with flags"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Contact sheet: {title}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
        f'<body class="cards"><header><h1>{title}</h1>\n'
        f'<label>show <select id="flag">{choices}</select></label>\n'
        '<label>find <input id="text" type="search" placeholder="press / to type"></label>\n'
        '<label><input id="list" type="checkbox"> as a list</label> <output id="shown"></output>\n'
        "<small>j, k: next, previous; Enter: open the picture; click a heading to sort, again to turn round</small></header>\n"
        f'<table><thead><tr><th class="by">sort by</th>{heads}<th class="rest">stain</th></tr></thead>\n'
        f'<tbody id="rows">\n{chr(10).join(cards)}\n</tbody></table>\n<script>{SCRIPT}</script></body></html>\n'
    )


STYLE = """
body{font:14px/1.35 system-ui,sans-serif;margin:0;color:#222;background:#fff}
header{padding:8px 14px;position:sticky;top:0;background:#fff;z-index:2;border-bottom:1px solid #ddd}
h1{font-size:17px;margin:0 16px 0 0;display:inline-block} label{margin-right:14px} small{color:#666;margin-left:12px}
table{border-collapse:collapse;width:100%} th button{font:inherit;background:none;border:1px solid #ccc;border-radius:4px;
cursor:pointer;padding:2px 7px} th[aria-sort=ascending] button::after{content:" ▲"} th{text-align:left;padding:5px}
th[aria-sort=descending] button::after{content:" ▼"} .by{font-weight:normal;color:#666} [hidden]{display:none!important}
td{padding:4px 8px;border-top:1px solid #e4e4e4;vertical-align:top} .picture img{max-width:100%;height:90px;object-fit:contain}
.flag{background:#fff0c2;border:1px solid #d9a400;border-radius:3px;padding:0 5px;white-space:nowrap}
.flag.bad{background:#ffdcdc;border-color:#c00} .none{color:#999} .name{font-weight:600;overflow-wrap:anywhere;min-width:9em}
tr:focus{outline:3px solid #1e5adc;outline-offset:-2px} em{color:#555} .said{overflow-wrap:anywhere}
.cards table,.cards tbody,.cards thead{display:block} .cards thead tr{display:flex;flex-wrap:wrap;align-items:center;padding:0 9px}
.cards thead .rest{display:none}
.cards tbody{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:10px;padding:8px 14px}
.cards tbody tr{display:block;border:1px solid #ddd;border-radius:5px;padding:6px;content-visibility:auto;
contain-intrinsic-size:auto 360px} .cards td{display:inline;border:0;padding:0 6px 0 0}
.cards tr.failed{border-color:#c00} .cards .picture{display:block;text-align:center;padding:0 0 4px}
.cards .picture img{height:270px;width:100%} .cards .name,.cards .said{display:block}
.cards .figure:not(:empty)::before{content:attr(data-label) " ";color:#777} .cards
.figure{display:inline-block;white-space:nowrap}
.cards .figure:empty{display:none}
@media print{header label,header small,thead,header output{display:none!important} header{position:static}
.cards tbody{grid-template-columns:repeat(3,1fr)} .cards tbody tr{content-visibility:visible}
tr{break-inside:avoid} .cards .picture img{height:150px}}
"""

SCRIPT = """
"use strict";
const body = document.getElementById("rows"), flag = document.getElementById("flag"), text = document.getElementById("text");
const all = Array.from(body.rows), found = all.map(row => row.textContent.toLowerCase());
const collator = new Intl.Collator("en", {numeric: true});
function filter() {
  const words = text.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  all.forEach((row, index) => {
    const names = row.dataset.names ? row.dataset.names.split("|") : [];
    const flagged = !flag.value || (flag.value === "*" ? names.length > 0 : names.includes(flag.value));
    row.hidden = !(flagged && words.every(word => found[index].includes(word)));
    if (!row.hidden) shown += 1;
  });
  document.getElementById("shown").textContent = shown + " shown";
}
function sort(button) {
  const key = button.dataset.key, head = button.closest("th"), isText = key === "slide_id";
  const before = head.getAttribute("aria-sort");
  const first = key === "n_flags" || key === "n_out" ? "descending" : "ascending";
  const other = {ascending: "descending", descending: "ascending"};
  const now = before === "none" ? first : other[before], sign = now === "ascending" ? 1 : -1;
  document.querySelectorAll("th[aria-sort]").forEach(each => each.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", now);
  const value = row => row.getAttribute("data-" + key);
  const rows = Array.from(body.rows).sort((a, b) => {
    const x = value(a), y = value(b);
    if (x === null || y === null) return (x === null) - (y === null);  // what was not measured stays last
    return sign * (isText ? collator.compare(x, y) : x - y)
      || collator.compare(value2(a), value2(b));
  });
  const part = document.createDocumentFragment();
  rows.forEach(row => part.append(row));
  body.append(part);
}
function value2(row) { return row.getAttribute("data-slide_id"); }
function move(step) {
  const rows = Array.from(body.rows).filter(row => !row.hidden);
  if (!rows.length) return;
  const at = rows.indexOf(document.activeElement.closest ? document.activeElement.closest("#rows tr") : null);
  const next = rows[Math.min(rows.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  next.focus();
  next.scrollIntoView({block: "center"});
}
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => sort(button)));
flag.addEventListener("change", filter);
text.addEventListener("input", filter);
document.getElementById("list").addEventListener("change", event => {
  document.body.classList.toggle("cards", !event.target.checked);
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT"].includes(event.target.tagName)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/") { event.preventDefault(); text.focus(); }
  else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
  else if (event.key === "Enter" && event.target.tagName === "TR") {
    const link = event.target.querySelector("a");
    if (link) link.click();
  }
});
window.addEventListener("beforeprint", () => document.querySelectorAll("img").forEach(image => { image.loading = "eager"; }));
filter();
"""
