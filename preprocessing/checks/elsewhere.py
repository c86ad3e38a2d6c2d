"""Slides that lie elsewhere, for a check before hours of compute: their places are asked what is there, nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.failures import SlideError
from common.remote.fetching import asked_version
from common.remote.remote_slide import origin_of
from common.remote.source import Version
from preprocessing.checks.slide_checks import Finding

AT_ONCE = 8


@dataclass(frozen=True)
class Elsewhere:
    """What was found of slides that lie elsewhere: findings, notes, and a row of the table for each."""

    findings: Sequence[Finding]
    notes: Sequence[str]
    rows: Sequence[Mapping[str, Any]]


def ask_elsewhere(files: Mapping[str, Path]) -> Elsewhere:
    """Ask for the size of every slide that lies elsewhere (HEAD of a web server); none is opened."""
    origins = {slide_id: origin for slide_id, path in files.items() if (origin := origin_of(path)) is not None}
    if not origins:
        return Elsewhere((), (), ())
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(origins, pool.map(_asked, [origin.address for origin in origins.values()]), strict=True))
    findings, rows, sizes = [], [], []
    for slide_id, answer in answers.items():
        if isinstance(answer, SlideError):
            findings.append(Finding(slide_id, answer.reason, answer.remedy))
            rows.append({"slide_id": slide_id, "state": "failed", "reason": answer.reason, "remedy": answer.remedy})
        else:
            sizes.append(answer.size or 0)
            rows.append({"slide_id": slide_id, "state": "elsewhere"})
    notes = []
    if sizes:
        notes = [
            f"note: {len(sizes)} slide(s) lie elsewhere, {sum(sizes) / 1e9:.3g} GB in all: asked for, not fetched and not opened; "
            "their tiles and hours are not among the figures"
        ]
    return Elsewhere(findings, notes, rows)


def _asked(address: Any) -> Version | SlideError:
    try:
        return asked_version(address)
    except SlideError as error:
        return error
