"""One figure of a benchmark as a row that a program can read: `--json FILE` of the scripts, one table by bench.py.

What is promised of a row stands in benchmarks/README.md, under "What is promised", by the row's key, and nowhere else.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

README = Path(__file__).with_name("README.md")
PROMISE = re.compile(r"\| `(?P<key>[a-z0-9_.]+)` \| (?P<words>[^|]*) \| at (?P<side>most|least) (?P<value>[\d.]+) \|")


@dataclass(frozen=True)
class Promise:
    """What is promised of a ratio (or of a figure that has no ratio)."""

    is_most: bool
    value: float
    words: str = ""

    def __str__(self) -> str:
        return f"at {'most' if self.is_most else 'least'} {self.value:g}"

    def is_met(self, value: float) -> bool:
        return value <= self.value if self.is_most else value >= self.value


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        key: of what is promised; rows of one key differ in `what`.
        what: in words.
        figure: ours, with its unit.
        against: the peer or limit with its figure.
        ratio: ours over theirs, or theirs over ours, as the promise says; None: there is none.
        missing: why there is no figure.
    """

    key: str
    what: str
    figure: str = ""
    against: str = ""
    ratio: float | None = None
    missing: str = ""

    @property
    def promise(self) -> Promise | None:
        return promises().get(self.key)

    @property
    def met(self) -> str:
        """yes, no, or nothing where nothing is promised or measured."""
        if self.promise is None or self.ratio is None:
            return ""
        return "yes" if self.promise.is_met(self.ratio) else "no"


@cache
def promises() -> dict[str, Promise]:
    """Read what is promised from the README of the benchmarks."""
    found = PROMISE.finditer(README.read_text(encoding="utf-8"))
    return {each["key"]: Promise(each["side"] == "most", float(each["value"]), each["words"].strip()) for each in found}


_rows: list[Row] = []


def record(
    key: str, what: str, figure: str, *, against: str = "", ratio: float | None = None, missing: str = ""
) -> None:
    """Keep a row for the file of --json."""
    own = None if ratio is None else float(ratio)
    _rows.append(Row(key=key, what=what, figure=figure, against=against, ratio=own, missing=missing))


def keep(rows: Iterable[Row]) -> None:
    """Keep the rows of another process."""
    _rows.extend(rows)


def lacking(key: str, what: str, why: str) -> None:
    """Keep a row of a peer that could not be had, or of a figure that could not be taken."""
    record(key, what, "", missing=why)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, help="file for the figures as rows (benchmarks/rows.py)")


def write_rows(path: Path | None) -> None:
    """Write the rows that were kept; the last thing a script does."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(row) for row in _rows], indent=1) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    return [Row(**each) for each in json.loads(path.read_text(encoding="utf-8"))]
