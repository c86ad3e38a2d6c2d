"""Who holds a claim: a process of a machine, and whether it still lives.

A process of this machine is asked for at the kernel. One of another machine lives as long as its file is renewed; what time it is
says the file system that holds the files, never the clock of a machine.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A run: its command, its process, and the settings of each step it takes part in."""

    token: str
    what: str  # the command
    who: str
    since: str
    machine: str  # this boot of it, and the container
    process: int
    began: str  # of the process, in the kernel's ticks: ids are used again
    steps: dict[str, str]  # step to a checksum of the settings that decide its results

    @property
    def told(self) -> str:
        """Who it is, for the screen."""
        return f"{self.what} ({self.who}, since {self.since})"

    def text(self) -> str:
        """Return it as it stands in a file."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Seen:
    """An owner as a file shows it; None: the file is not whole yet."""

    owner: Owner | None
    renewed: float  # by the file system's clock


def this_run(what: str, steps: dict[str, str]) -> Owner:
    """Return this process as an owner, under a token of its own."""
    return Owner(
        token=secrets.token_hex(8), what=what, who=f"{_user()} on {platform.node()}, process {os.getpid()}",
        since=datetime.now().astimezone().isoformat(timespec="seconds"), machine=_machine(), process=os.getpid(),
        began=_began(os.getpid()) or "", steps=steps,
    )  # fmt: skip


def seen(path: Path) -> Seen | None:
    """Read a file of an owner; None where it is gone. Opening it makes a network disk tell its true time."""
    try:
        with path.open(encoding="utf-8") as file:
            text, renewed = file.read(), os.fstat(file.fileno()).st_mtime
    except PermissionError:  # of somebody who lets nobody read it
        text, renewed = "", path.stat().st_mtime
    except OSError:  # gone, or a stale handle: it was removed while it was opened
        return None
    try:
        return Seen(Owner(**json.loads(text)), renewed)
    except (ValueError, TypeError):
        return Seen(None, renewed)


def is_dead(owner: Owner | None) -> bool:
    """Return whether an owner is a process of this machine that is no more."""
    if owner is None or owner.machine != _machine():
        return False
    began = _began(owner.process)
    return began is None or began != owner.began


def _began(process: int) -> str | None:
    """Return when a process of this machine began, in the kernel's ticks; "" where that is not told, None where there is none."""
    if Path("/proc/self/stat").is_file():
        try:
            text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        state, *fields = text.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    try:
        if os.name != "nt":  # there signal 0 would end it
            os.kill(process, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is somebody else's
    return ""


def _machine() -> str:
    """Return what tells this machine, this boot of it and this container from others."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    names = Path("/proc/self/ns/pid")
    parts = [platform.node()]
    parts += [boot.read_text(encoding="ascii").strip()] if boot.is_file() else []
    parts += [str(names.readlink())] if names.is_symlink() else []
    return " ".join(parts)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a table of users
        return "somebody"
