"""What may be the name of a file or a folder: runs, splits, encoders, references, patients and slides, checked by one rule."""

import difflib
import unicodedata
from collections.abc import Sequence

from common.failures import StudyError

MAX_BYTES = 200  # of a name: file systems take 255, and endings and the marks of partial files come to it
UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # categories of Unicode: controls, half signs, ends of lines
RESERVED = frozenset(
    {"CON", "PRN", "AUX", "NUL", *(f"{port}{digit}" for port in ("COM", "LPT") for digit in range(1, 10))}
)


def name_fault(text: str) -> str:
    """Say why a text cannot be one part of a path; empty where it can."""
    n_bytes = len(text.encode("utf-8", errors="replace"))
    rules = {
        "is empty": not text.strip(),
        "holds a slash, and would name another folder": "/" in text or "\\" in text,
        "begins with a dot": text.startswith("."),
        "holds signs that cannot be printed": any(unicodedata.category(sign) in UNPRINTABLE for sign in text),
        "is a device on Windows": text.partition(".")[0].strip().upper() in RESERVED,
        f"is {n_bytes} bytes long; {MAX_BYTES} are the most": n_bytes > MAX_BYTES,
    }
    return next((fault for fault, is_broken in rules.items() if is_broken), "")


def checked_name(text: str, what: str) -> str:
    """Return a name that can be one part of a path.

    Args:
        text: the name.
        what: what it names, and the option it came by, for the message.

    Raises:
        StudyError: it cannot.
    """
    fault = name_fault(text)
    if fault:
        shown = repr(text if len(text) <= 80 else f"{text[:77]}...")
        raise StudyError(f"{what} is one name, without folder and ending; {shown} {fault}")
    return text


def nearest(name: str, names: Sequence[str], *, mark: str = "") -> str:
    """Return a clause that names the nearest of some names, case aside; empty where none is near."""
    lower = {own.lower(): own for own in reversed(names)}
    near = difflib.get_close_matches(name[:100].lower(), lower, n=1)
    return f"; the nearest is {mark}{lower[near[0]]}" if near else ""
