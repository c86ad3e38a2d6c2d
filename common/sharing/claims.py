"""Claims: runs that share a folder take different slides (or folds), and one that dies loses what it held.

What failed is noted until all runs have ended: one that shares the work does not try it again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from common.failures import SlideError, SlideStatus, StudyError, earlier_statuses
from common.files import UnwritableError
from common.sharing.claim_files import ClaimFiles
from common.sharing.owners import this_run

FOLDER = ".claims"
EXPIRY_S = 120.0  # without a sign of life, by the file system's clock
RENEWALS = 6  # within that time
POLL_S = 1.0  # between two looks at what others hold
CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class OtherSettingsError(StudyError):
    """Another run is at work on the same results with other settings."""


class ElsewhereError(SlideError):
    """A slide failed in another run that shares the work; it was not tried again here."""


class Sharing:
    """Stands for the claims of a run that shares its work with nobody."""

    def take(self, piece: str) -> bool:
        """Claim a piece of work; False where another run holds it, or has just taken it."""
        return True

    def free(self, piece: str, error: SlideError | None = None) -> None:
        """Give a piece back: it is done, or failed with an error that others need not meet again."""

    def failure(self, piece: str) -> ElsewhereError | None:
        """Return how a piece failed in another run since this one began; None where it did not."""
        return None

    def is_mended(self, piece: str) -> bool:
        """Return whether a piece that failed here was made by another run since."""
        return False

    def released(self, pieces: Collection[str]) -> list[str]:
        """Return those of some pieces that no living run holds any more."""
        return list(pieces)

    def holders(self) -> list[str]:
        """Return the other runs at work on the same, for the screen."""
        return []

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait until no other run is in this part, and keep others out of it."""
        while not self.take(name):
            time.sleep(POLL_S / 10)
        try:
            yield
        finally:
            self.free(name)

    def wait(self, pieces: Collection[str]) -> list[str]:
        """Wait until one of some pieces that others hold is held no more; return those that are not. Says once who holds them."""
        is_told = False
        while not (released := self.released(pieces)):
            if not is_told and (holders := self.holders()):
                print(
                    f"waiting for what is at work in {', '.join(holders)}: {len(pieces)} left",
                    file=sys.stderr,
                    flush=True,
                )
                is_told = True
            time.sleep(POLL_S)
        return released


class Claims(Sharing):
    """This run among those that share a folder; a context manager."""

    def __init__(self, folder: Path, steps: Mapping[str, str], *, what: str, expiry_s: float | None = None) -> None:
        """Prepare to join.

        Args:
            folder: whose results are shared; it is there, and stays without a trace after the last run.
            steps: what is made, one name for all commands that make it, and all that decides its results, as text: runs with
                another one do not share. A piece is held for all steps at once.
            what: the command, for messages of other runs.
            expiry_s: seconds after which a run that gives no sign of life has lost its claims.
        """
        checksums = {step: hashlib.sha256(text.encode()).hexdigest() for step, text in steps.items()}
        self._steps, self._expiry_s = tuple(steps), EXPIRY_S if expiry_s is None else expiry_s
        self._files = ClaimFiles(folder / FOLDER, this_run(what, checksums), self._expiry_s)
        self._held: dict[str, list[Path]] = {}
        self._noted: set[str] = set()  # pieces that failed here
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._renew_again, daemon=True)
        self._joined: float | None = None  # by the file system's clock; None: nothing is shared

    def __enter__(self) -> Claims:
        """Join the runs that are at work.

        Raises:
            OtherSettingsError: one of them makes the same with other settings; nothing was done.
        """
        try:
            self._joined = self._files.join()
        except UnwritableError as error:
            cause = error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in CLOSED:
                raise
            print(
                f"note: {self._files.folder.parent} takes no claims ({cause.strerror}): see to it that this command runs once "
                "at a time", file=sys.stderr, flush=True,
            )  # fmt: skip
            return self
        others = self._files.others()
        for step, checksum in self._files.owner.steps.items():
            if other := next((own for own in others if own.steps.get(step, checksum) != checksum), None):
                self._files.leave()
                raise OtherSettingsError(
                    f"{other.what} is running on {self._files.folder.parent} already with other settings: {other.who}, since "
                    f"{other.since}; nothing was done. Wait until it ends, or give the same settings to share its work"
                )
        if not others:
            self._files.clear()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Give back what is held, and leave nothing where nobody else is at work."""
        if self._joined is None:
            return
        self._is_over.set()
        self._thread.join()
        for claims in self._held.values():
            for claim in claims:
                with suppress(OSError):
                    self._files.give_back(claim)
        self._files.leave()

    def take(self, piece: str) -> bool:
        """Claim a piece of work; False where another run holds it, or has just taken it."""
        if self._joined is None:
            return True
        taken: list[Path] = []
        for step in self._steps:
            claim = self._files.take(_hashed(step, piece))
            if claim is None:
                for own in taken:
                    self._files.give_back(own)
                return False
            taken.append(claim)
        with self._lock:
            self._held[piece] = taken
        return True

    def free(self, piece: str, error: SlideError | None = None) -> None:
        """Give a piece back: it is done, or failed with an error that others need not meet again."""
        with self._lock:
            claims = self._held.pop(piece, [])
        for step, claim in zip(self._steps, claims, strict=False):
            with suppress(OSError):
                if error is None:
                    self._note(step, piece).unlink(missing_ok=True)
                elif not isinstance(error, ElsewhereError):
                    self._write_note(self._note(step, piece), error)
                    self._noted.add(piece)
            self._files.give_back(claim)

    def failure(self, piece: str) -> ElsewhereError | None:
        """Return how a piece failed in another run since this one began; None where it did not."""
        if self._joined is None:
            return None
        for step in self._steps:
            with suppress(OSError, ValueError, KeyError), self._note(step, piece).open(encoding="utf-8") as file:
                known, noted = json.load(file), os.fstat(file.fileno()).st_mtime
                if noted >= self._joined:
                    return ElsewhereError(str(known["reason"]), str(known["remedy"]))
        return None

    def is_mended(self, piece: str) -> bool:
        """Return whether a piece that failed here was made by another run since: what was noted of it is gone."""
        return piece in self._noted and not any(self._note(step, piece).exists() for step in self._steps)

    def released(self, pieces: Collection[str]) -> list[str]:
        """Return those of some pieces that no living run holds any more."""
        held = self._files.held()
        return [piece for piece in pieces if not any(_hashed(step, piece) in held for step in self._steps)]

    def holders(self) -> list[str]:
        """Return the other runs at work on the same, for the screen."""
        return sorted(own.told for own in self._files.others() if set(own.steps) & set(self._steps))

    def _renew_again(self) -> None:
        while not self._is_over.wait(self._expiry_s / RENEWALS):
            with self._lock:
                held = [claim for claims in self._held.values() for claim in claims]
            self._files.renew(held)

    def _note(self, step: str, piece: str) -> Path:
        return self._files.folder / f"failed-{_hashed(step, piece)}"

    def _write_note(self, path: Path, error: SlideError) -> None:
        partial = path.with_name(f"note-{self._files.owner.token}")
        partial.write_text(json.dumps({"reason": error.reason, "remedy": error.remedy}), encoding="utf-8")
        partial.replace(path)


def settled(statuses: Sequence[SlideStatus], path: Path, sharing: Sharing) -> list[SlideStatus]:
    """Return what is to be said of slides: of one that failed here and was made by another run since, what that run says.

    Args:
        statuses: what became of the slides in this run.
        path: the status table, into which the other run has written.
        sharing: the claims on these slides.
    """
    mended = {row.slide_id for row in statuses if row.state == "failed" and sharing.is_mended(row.slide_id)}
    said = {row.slide_id: row for row in earlier_statuses(path, mended) if row.state == "done"}
    return [said.get(row.slide_id, row) for row in statuses]


def _hashed(step: str, piece: str) -> str:
    return hashlib.sha256(f"{step}\n{piece}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
