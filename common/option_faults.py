"""What is wrong with options of a command line or a settings file, in the words of who uses them: unit, example, nearest name."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from common.guards.names import nearest

SHOWN = 80  # signs of a wrong value
UNITS = {  # how a number's name ends: what it is
    "_um": "a length in um", "_px": "a number of pixels", "_s": "a time in seconds", "_gb": "memory in GB",
    "mpp": "a scale in um a pixel", "_fraction": "a fraction from 0 to 1",
}  # fmt: skip
COUNTS = {"_px": "a whole number of pixels"}
ALONE = ("-h", "--help", "--version")


def option_words(name: str, kind: Any, default: object) -> str:
    """Say what an option wants: "a length in um such as 256".

    Args:
        name: of the option; its ending is its unit.
        kind: the annotation of its field.
        default: shown as the example, where there is one.
    """
    plain = _without_none(kind)
    if get_origin(plain) is Literal:
        return f"one of {', '.join(map(str, get_args(plain)))}"
    if plain is bool:
        return "true or false"
    words = {int: COUNTS, float: UNITS}.get(plain, {})
    said = next((words[end] for end in words if name.endswith(end)), None)
    said = said or {int: "a whole number", float: "a number", Path: "a path"}.get(plain, "a text")
    if default is None:
        return said
    return f"{said} such as {f'{default:g}' if isinstance(default, float) else default}"


def option_fault(name: str, kind: Any, default: object, value: object) -> str:
    """Say what an option wants and what was found, with the nearest of its choices."""
    found = repr(value if len(str(value)) <= SHOWN else f"{str(value)[:SHOWN]}...")
    choices = [str(own) for own in get_args(_without_none(kind))] if get_origin(_without_none(kind)) is Literal else []
    return f"is {option_words(name, kind, default)}; found {found}{nearest(str(value), choices)}"


def flags_fault(
    flags: Sequence[str], options: Mapping[str, tuple[Any, object]], is_value: Callable[[str, str], bool]
) -> str:
    """Return the first thing that is wrong with the arguments of a command; empty: nothing that is known here.

    Args:
        flags: the arguments.
        options: name to annotation and default.
        is_value: whether a text is a value of an option.
    """
    for name, value in _pairs(flags, options):
        if name is None:
            return f"{value!r} belongs to no option; write --OPTION VALUE, and a value with spaces in quotation marks"
        if name not in options:
            return f"--{name} is no option here{nearest(name, list(options), mark='--')}; --help lists all"
        kind, default = options[name]
        if value is None:
            return f"--{name} wants a value: {option_words(name, kind, default)}"
        if not is_value(name, value):
            return f"--{name} {option_fault(name, kind, default, value)}"
    return ""


def _pairs(flags: Sequence[str], options: Mapping[str, tuple[Any, object]]) -> Iterator[tuple[str | None, str | None]]:
    """Yield option and value; None for the value that is missing, and for the option of a value that stands alone."""
    left = list(flags)
    while left:
        flag = left.pop(0)
        if flag in ALONE:
            continue
        if not flag.startswith("--") or flag == "--":
            yield None, flag
            continue
        name, equals, value = flag.removeprefix("--").partition("=")
        if equals:
            yield name, value
        elif left and not left[0].startswith("--"):
            yield name, left.pop(0)
        else:
            is_switch = name in options and _without_none(options[name][0]) is bool
            yield name, "true" if is_switch else None


def _without_none(kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return next(own for own in get_args(kind) if own is not type(None))
    return kind
