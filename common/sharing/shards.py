"""--shard i/n: a part of the slides, by their names alone, so that no machine needs to ask another. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The number of a part, from 1, and how many parts there are."""

    number: int
    n_shards: int

    def holds(self, name: str) -> bool:
        """Return whether a slide is of this part: by a checksum of its name, whatever other slides there are."""
        place = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")
        return place % self.n_shards == self.number - 1

    def left_out(self, names: Iterable[str]) -> frozenset[str]:
        """Return the slides of the other parts."""
        return frozenset(name for name in names if not self.holds(name))


def parse_shard(text: str | None) -> Shard:
    """Read i/n; None is the whole, 1/1.

    Raises:
        ValueError: it is not two numbers with 1 <= i <= n.
    """
    if text is None:
        return Shard(1, 1)
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--shard is a part as 1/4, 2/4, 3/4 or 4/4, counted from 1, got {text!r}")
    return Shard(int(found[1]), int(found[2]))
