"""What a step was made of and what it left, in a small file: whether it is done is known without starting it.

A stamp is a note, no result. It compares names, sizes and times of change of files, so a copied study may have its steps started
once more, which then keep what is whole; and a step is never taken for done after anything that it reads or left has changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from common.files import write_json
from sarcoma_mil.whole.code_version import code_sha256

SCHEMA = "step/1"
FOLDER = ".steps"
SMALL = 1 << 20  # bytes; smaller tables and records are compared by their content


@dataclass(frozen=True)
class Stamp:
    """How a step ended, and digests of what it read and left."""

    exit_code: int
    reads: str
    leaves: str


def stamp_file(study: Path, name: str) -> Path:
    """Return the stamp of a step, such as `train subtype default`."""
    return study / FOLDER / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def read_stamp(path: Path) -> Stamp | None:
    """Return a stamp; None where there is none, or one that cannot be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["schema"] != SCHEMA:
            return None
        return Stamp(int(known["exit_code"]), str(known["reads"]), str(known["leaves"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_stamp(path: Path, name: str, stamp: Stamp) -> None:
    """Write a stamp."""
    path.parent.mkdir(exist_ok=True)
    write_json(
        path,
        {"schema": SCHEMA, "step": name, "exit_code": stamp.exit_code, "reads": stamp.reads, "leaves": stamp.leaves},
    )


def digest_of(paths: Iterable[Path], *settings: object, root: Path, with_code: bool = True) -> str:
    """Return a digest of files (and of all below folders), the program, and settings (JSON can hold them).

    Tables and records count by their content, large files by size and time of change; what is missing counts too.

    Args:
        paths: files and folders.
        settings: what else decides the result.
        root: of the study, which may be moved.
        with_code: whether another version of the program makes another digest.
    """
    digest = hashlib.sha256(code_sha256().encode() if with_code else b"")
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in sorted(set(paths)):
        for file in [path] if not path.is_dir() else _below(path):
            digest.update(f"{_place(file, root)}\0{_state(file)}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _place(file: Path, root: Path) -> str:
    return str(file.relative_to(root) if file.is_relative_to(root) else file.absolute())


def _below(folder: Path) -> list[Path]:
    """Return the files below a folder, through links to it; hidden ones do not count."""
    files = (file for file in folder.rglob("*") if not file.name.startswith("."))
    return sorted(file for file in files if not file.is_dir())


def _state(file: Path) -> str:
    try:
        known = file.stat()
        if file.suffix in (".csv", ".json", ".yaml", ".tsv") and known.st_size < SMALL:
            return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return "missing"
    return f"{known.st_size} {known.st_mtime_ns}"
