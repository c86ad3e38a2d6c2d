"""The files of claims: one for each run, renewed while it lives, and one for each piece of work that a run holds.

A piece's file is a hard link to that of its run: it appears at once, whole, and for one run alone, over NFS too; renewing the
run's file renews all. Where there are no links, it is a new file. Its name is `<checksum of the piece>.<n>`: who takes a piece over
from a run that is no more makes n + 1, which again only one can, and then removes n.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from common.files import writing
from common.guards.own_files import own_folder
from common.sharing.owners import Owner, Seen, is_dead, seen

WITHOUT_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV})
CLAIM = re.compile(r"(?P<piece>[0-9a-f]{32})\.(?P<n>\d+)")


class ClaimFiles:
    """The files of one run in the folder of claims."""

    def __init__(self, folder: Path, owner: Owner, expiry_s: float) -> None:
        self.folder, self.owner = folder, owner
        self._file = folder / f"run-{owner.token}"
        self._expiry_s = expiry_s

    def join(self) -> float:
        """Make this run's file; return when, by the file system's clock.

        Raises:
            UnwritableError: the folder does not take it.
            StudyError: the folder is a link.
        """
        while True:
            is_new = not self.folder.exists()
            own_folder(self.folder, below=self.folder.parent)
            if is_new:
                with suppress(OSError):  # whoever may write into the study may share its work
                    self.folder.chmod(stat.S_IMODE(self.folder.parent.stat().st_mode))
            try:
                with writing(self._file):
                    self._appear()
                return self._file.stat().st_mtime
            except FileNotFoundError:
                continue  # the last of other runs has just removed the folder

    def leave(self) -> None:
        """Remove this run's file; the last one leaves nothing."""
        with suppress(OSError):
            if not self.others():
                self.clear()
            self._file.unlink(missing_ok=True)
            self.folder.rmdir()  # refuses where somebody has come

    def clear(self) -> None:
        """Remove what runs that are no more left behind; the file of one that has just come stays."""
        for path in self._paths():
            own = seen(path)
            if path == self._file or (own is not None and own.owner is not None and self._lives(own)):
                continue
            with suppress(OSError):
                path.unlink()

    def others(self) -> list[Owner]:
        """Return the other runs that live."""
        found = (seen(path) for path in self._paths() if path.name.startswith("run-") and path != self._file)
        return [own.owner for own in found if own is not None and own.owner is not None and self._lives(own)]

    def take(self, piece: str) -> Path | None:
        """Claim a piece, given by its checksum; None where a living run holds it, or was faster."""
        known = self._claims_of(piece)
        if known and self._lives(seen(known[-1][1])):
            return None
        number = 1 + (known[-1][0] if known else 0)
        own = self.folder / f"{piece}.{number}"
        if not self._linked(own):
            return None
        for other, path in self._claims_of(piece):  # anew: a network disk may have shown an old list
            if other > number and self._lives(seen(path)):
                self.give_back(own)
                return None
            if other < number:
                path.unlink(missing_ok=True)
        return own

    def give_back(self, claim: Path) -> None:
        """Remove a claim's file, unless another run has taken it over: names are used again."""
        own = seen(claim)
        if own is not None and own.owner is not None and own.owner.token == self.owner.token:
            claim.unlink(missing_ok=True)

    def held(self) -> set[str]:
        """Return the checksums of the pieces that living runs hold."""
        found = [(match["piece"], path) for path in self._paths() if (match := CLAIM.fullmatch(path.name))]
        return {piece for piece, path in found if self._lives(seen(path))}

    def renew(self, claims: Iterable[Path]) -> None:
        """Give a sign of life."""
        for path in (self._file, *claims):
            with suppress(OSError):
                os.utime(path)

    def _claims_of(self, piece: str) -> list[tuple[int, Path]]:
        found = [(match, path) for path in self._paths() if (match := CLAIM.fullmatch(path.name))]
        return sorted((int(match["n"]), path) for match, path in found if match["piece"] == piece)

    def _linked(self, path: Path) -> bool:
        """Make a claim's file; False where somebody was faster."""
        try:
            os.link(self._file, path)
        except FileExistsError:
            return _is_same(
                path, self._file
            )  # over NFS an answer may get lost, and a second try finds what the first made
        except FileNotFoundError:  # this run stood still so long that another one took it for dead
            self._appear()
            return self._linked(path)
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            return self._created(path)
        return True

    def _created(self, path: Path) -> bool:
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        os.fchmod(number, 0o644)
        os.write(number, self.owner.text().encode())
        os.close(number)
        return True

    def _appear(self) -> None:
        """Make this run's own file, whole at once."""
        partial = self.folder / f"new-{self.owner.token}"
        partial.write_text(self.owner.text(), encoding="utf-8")
        partial.chmod(0o644)  # other people's runs look whether this one lives
        partial.replace(self._file)

    def _lives(self, own: Seen | None) -> bool:
        if own is None or is_dead(own.owner):
            return False
        return self._now() - own.renewed <= self._expiry_s

    def _now(self) -> float:
        """Return the time of the file system that holds the claims: that of a file touched just now."""
        try:
            os.utime(self._file)
        except FileNotFoundError:
            self._appear()
        return self._file.stat().st_mtime

    def _paths(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except OSError:
            return []


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False
