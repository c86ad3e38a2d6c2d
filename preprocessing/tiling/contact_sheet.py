"""The contact sheet: one HTML page with the preview of every slide of a cohort, to sort, filter and look through.

Pictures are linked, not inlined: a few hundred previews would make a page of a hundred megabytes, while linked ones are
loaded as they come into view, so that thousands of slides open at once. The page needs no network and no server.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from common.failures import StudyError
from common.files import read_named_rows, write_text
from common.study import Study, open_study
from common.templates import render

EXCLUDED = "n_excluded_"
SORTS = (  # header, key of the row's number or text
    ("slide", "slide_id"), ("flags", "n_flags"), ("tiles", "n_tiles"), ("left out", "n_out"),
    ("tissue mm²", "tissue_mm2"), ("µm/px", "mpp_x"), ("sharpness", "sharpness"),
)  # fmt: skip


@dataclass(frozen=True)
class ContactSheet:
    """A page that was written, and how many slides are on it."""

    path: Path
    n_slides: int


@dataclass(frozen=True)
class _Figure:
    """A cell: its label, its text, and what is shown when one points at it."""

    label: str
    text: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class _Card:
    """A slide on the page."""

    slide_id: str
    link: str | None  # to its preview
    is_failed: bool
    flags: list[str]
    names: str  # of flags, without their shares, parted by |
    sort_values: Mapping[str, str]
    reason: str
    remedy: str
    figures: list[_Figure]


def draw_contact_sheet(study: Path | Study) -> ContactSheet:
    """Write the page of a tiled study out of its status table.

    Raises:
        StudyError: there is no study or no table, or it is of another kind.
    """
    study = open_study(study)
    if not study.status_file.is_file():
        raise StudyError(f"no table {study.status_file}; run preprocessing/tile_slides.py --study {study.root} first")
    rows = read_named_rows(study.status_file)
    if rows and "slide_id" not in rows[0]:
        raise StudyError(f"{study.status_file} has no column slide_id; run preprocessing/tile_slides.py again")
    write_contact_sheet(study.contact_sheet, rows, study.previews, is_synthetic=study.truth.is_dir())
    return ContactSheet(study.contact_sheet, len(rows))


def write_contact_sheet(
    path: Path, rows: Iterable[Mapping[str, object]], previews_folder: Path, *, is_synthetic: bool = False
) -> None:
    """Write the page, atomically; the same rows in any order give the same bytes.

    Args:
        path: the HTML file.
        rows: status rows: slide_id, state, reason, remedy, mpp_x, mpp_y, mpp_source, tissue_mm2, n_tiles, n_excluded_...,
            flags (a list, or text parted by semicolons), sharpness (the slide's median), stain, stain_fallback. What is
            missing or empty is left blank.
        previews_folder: where <slide_id>.jpg lie; the page links to them relative to its own folder.
        is_synthetic: the slides are painted; the page says so.
    """
    folder = Path(os.path.relpath(previews_folder, path.parent)).as_posix()
    previews = {file.name for file in previews_folder.glob("*.jpg")} if previews_folder.is_dir() else set()
    ordered = sorted(rows, key=_order)
    cards = []
    for row in ordered:
        name = f"{row['slide_id']}.jpg"
        cards.append(_card(row, f"{folder}/{name}" if name in previews else None))
    n_failed, n_flagged = sum(card.is_failed for card in cards), sum(bool(card.flags) for card in cards)
    page = render(
        Path(__file__).parent, "contact_sheet.html", title=f"{len(cards)} slides, {n_failed} failed, {n_flagged} with flags",
        choices=_choices(cards, n_failed, n_flagged), sorts=SORTS, cards=cards,
        is_synthetic=is_synthetic,
    )  # fmt: skip
    write_text(path, page)


def flags_of(row: Mapping[str, object]) -> list[str]:
    """Return a row's flags."""
    flags = row.get("flags") or ""
    parts = flags.split(";") if isinstance(flags, str) else [str(part) for part in flags]  # type: ignore[attr-defined]
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


def _card(row: Mapping[str, object], link: str | None) -> _Card:
    slide_id, flags, is_failed = str(row["slide_id"]), flags_of(row), row.get("state") == "failed"
    values: dict[str, float | str | None] = {key: _number(row, key) for _, key in SORTS}
    values |= {"slide_id": slide_id, "n_flags": len(flags) + 100 * is_failed, "n_out": _n_out(row)}
    return _Card(
        slide_id=slide_id, link=None if link is None else quote(link, safe="/"), is_failed=is_failed, flags=flags,
        names="|".join([flag_name(flag) for flag in flags] + ["failed"] * is_failed),
        sort_values={
            key: value if isinstance(value, str) else f"{value:.6g}" for key, value in values.items() if value is not None
        },
        reason=str(row.get("reason", "")), remedy=str(row.get("remedy", "")), figures=_figures(row),
    )  # fmt: skip


def _figures(row: Mapping[str, object]) -> list[_Figure]:
    """Return the cells with numbers; what was not measured is empty."""
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
    return [
        _Figure("tiles", _shown(_number(row, "n_tiles"), "g")),
        _Figure("left out", _shown(_n_out(row), "g"), ", ".join(parts)),
        _Figure("mm²", _shown(_number(row, "tissue_mm2"), ".1f")),
        _Figure("µm/px", mpp, f"from: {row['mpp_source']}" if row.get("mpp_source") else ""),
        _Figure("sharpness", _shown(_number(row, "sharpness"), ".2f")),
        _Figure("stain", f"{stain} (fallback)" if fallback else stain, fallback),
    ]


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else f"{value:{form}}"


def _choices(cards: list[_Card], n_failed: int, n_flagged: int) -> list[tuple[str, str]]:
    """Return value and text of what the page can be filtered by."""
    counts = Counter(name for card in cards for name in {flag_name(flag) for flag in card.flags})
    choices = [("", f"all {len(cards)}"), ("*", f"any flag or failure ({n_failed + n_flagged})")]
    choices += [("failed", f"failed ({n_failed})")] if n_failed else []
    return choices + [(name, f"{name} ({counts[name]})") for name in sorted(counts)]
