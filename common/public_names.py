"""What a stage offers to notebooks: names that are imported when they are first asked for, so that --help loads nothing heavy."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(stage: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    Args:
        stage: the package's name.
        places: public name to the module that has it.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {stage!r} has no attribute {name!r}")
        return getattr(import_module(places[name]), name)

    def names() -> list[str]:
        return sorted(places)

    return get, names
