"""The words of a condition on the rows of the clinical table, each with its place, and the parts of the tree they make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_LENGTH = 100_000  # characters: room for the names of some thousand patients
_TOKEN = re.compile(
    r"(?P<blank>\s+)|(?P<number>(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?+(?!\w))|(?P<name>[^\W\d]\w*)|(?P<quoted>`[^`]+`)"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")|(?P<sign>==|!=|<=|>=|[<>()\[\],&|~.+*/=-])",
    re.DOTALL,
)


class ExpressionError(ValueError):
    """What was found where, and what is wanted."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message, position)
        self.message, self.position = message, position


@dataclass(frozen=True)
class Token:
    """A word of the text; `kind` is a group of the tokeniser or "end"."""

    kind: str
    text: str
    position: int


@dataclass(frozen=True)
class Literal:
    """A number, a text or a truth; `text` is how it was written."""

    value: float | int | str | bool
    text: str
    position: int


@dataclass(frozen=True)
class Name:
    """A column."""

    name: str
    position: int


@dataclass(frozen=True)
class Operation:
    """What an operator joins: and, or, not, a comparison, negative, or the signs of a sum or product, one between two parts."""

    operator: str
    parts: tuple[Node, ...]
    position: int


@dataclass(frozen=True)
class RowTest:
    """A method of a column with its literals: isin (of `in` too), between, isna, str.startswith ..."""

    method: str
    column: Node
    arguments: tuple[Literal, ...]
    position: int


Node = Literal | Name | Operation | RowTest


def tokens_of(text: str) -> Iterator[Token]:
    """Yield the words of a text, as they are asked for, and a last one for its end.

    Raises:
        ExpressionError: it is too long, or a sign begins no word.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"it is {len(text)} characters long; {MAX_LENGTH} are the most", 0)
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(_what_begins(text, position), position)
        if match.lastgroup != "blank":
            yield Token(str(match.lastgroup), match[0], position)
        position = match.end()
    yield Token("end", "", len(text))


def _what_begins(text: str, position: int) -> str:
    """Say what is wrong with a sign that begins no word of the grammar."""
    sign = text[position]
    if sign in "'\"`":
        return f"the {'name' if sign == '`' else 'text'} that begins with {sign} does not end"
    hint = {"@": "; there are no variables", "!": "; write not", "%": "", "{": "; write a list in [ ]"}.get(sign, "")
    return f"{sign!r} is no part of a condition{hint}"


def shown(text: str) -> str:
    """Return a text short enough for a message."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def place_in(text: str, position: int) -> str:
    """Return the part of a text around a place, and under it a mark."""
    start = max(0, position - 50)
    part = "".join(sign if sign.isprintable() else " " for sign in text[start : position + 50])
    return f"    {part}\n    {' ' * (position - start)}^"
