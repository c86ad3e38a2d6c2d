"""What a place that has a slide tells of it and hands over: the contract of web servers and of fsspec's file systems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from common.failures import SlideError
from common.remote.address import Address

PIECE = 1 << 20  # bytes taken and written at a time


@dataclass(frozen=True)
class Version:
    """What the place says of the file: the same version has the same bytes.

    Attributes:
        size: in bytes; None where it does not say.
        etag: its mark of this version, "" for none.
        modified: when it was last changed, in the place's words, "" for none.
        checksum: kind ("sha256" or "md5") and hex of the content, where it says one.
    """

    size: int | None
    etag: str = ""
    modified: str = ""
    checksum: tuple[str, str] | None = field(default=None, compare=False)

    def differs_from(self, other: Version) -> bool:
        """Whether something that both say is not the same; places say less in some answers than in others."""
        pairs = ((self.size, other.size), (self.etag, other.etag), (self.modified, other.modified))
        return any(one != two for one, two in pairs if one not in (None, "") and two not in (None, ""))


class DroppedError(Exception):
    """A connection failed or the place was busy: it is tried again."""

    def __init__(self, message: str, *, wait_s: float = 0.0, is_slow: bool = False) -> None:
        super().__init__(message)
        self.wait_s = wait_s  # that the place asks for
        self.is_slow = is_slow  # what came is too little to count


def changed(address: Address) -> SlideError:
    """Return the error of a file that is another one than when it was first asked for."""
    return SlideError(
        f"{address.shown} changed at its source while it was fetched",
        "run the same command again when nobody writes it any more",
    )


@runtime_checkable
class Source(Protocol):
    """A place that has one slide."""

    def version(self) -> Version:
        """Ask what is there, without fetching it.

        Raises:
            DroppedError: no answer; it is asked again.
            SlideError: it is not there, or not for us.
        """
        ...

    def read(self, start: int, version: Version) -> Iterator[tuple[int, bytes]]:
        """Yield where (bytes from the beginning) and what, from `start`; from 0 where the place cannot begin elsewhere.

        Raises:
            DroppedError: the connection failed on the way.
            SlideError: it is no longer this version, or not for us.
        """
        ...
