"""Folders that a command writes into and tidies: never through a link, and only files of the command's own pattern go."""

import re
from collections.abc import Collection
from pathlib import Path

from common.failures import StudyError
from common.files import writing


def check_own_folder(path: Path, *, below: Path) -> None:
    """Refuse to write into a folder behind a link: what lies there belongs to somebody else.

    Args:
        path: the folder, there already or not.
        below: the folder above it that is the user's: no link may stand between the two.

    Raises:
        StudyError: it, or a folder between, is a link or no folder.
    """
    for part in (path, *path.parents):
        if part == below:
            return
        if part.is_symlink() or (part.exists() and not part.is_dir()):
            kind = "a link" if part.is_symlink() else "a file"
            raise StudyError(f"{part} is {kind}, and this command writes a folder there; move it away")


def own_folder(path: Path, *, below: Path) -> Path:
    """Make a folder if need be, and return it; see check_own_folder."""
    check_own_folder(path, below=below)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def remove_own_files(folder: Path, pattern: re.Pattern[str], *, kept: Collection[str] = ()) -> None:
    """Remove the files in a folder whose whole name fits the pattern, but those kept; of a link, the link alone.

    What lies behind a folder that is a link is left, and so are folders and other files.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name not in kept and pattern.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            path.unlink()


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing; a link is left."""
    if folder.is_dir() and not folder.is_symlink() and next(folder.iterdir(), None) is None:
        folder.rmdir()
