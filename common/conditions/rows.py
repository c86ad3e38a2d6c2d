"""For which rows of a table a condition holds, in three truths: a comparison with a missing value neither holds nor fails.

So `subtype != 'LMS'`, `subtype not in ['LMS']` and `not subtype == 'LMS'` all leave out the rows whose subtype nobody knows
(Kleene's logic, as in SQL); `subtype.isna()` asks for them. Columns are numbers, texts or truths, and only like is compared with
like: a text that looks like a number is none.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.conditions.grammar import parsed
from common.conditions.tokens import ExpressionError, Literal, Name, Node, Operation, RowTest, shown
from common.guards.names import nearest

NUMBER, TEXT, TRUTH, NOTHING = "number", "text", "truth", "missing value"
TRUE_OR_FALSE = {"true": True, "false": False}
COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
CALCULATED: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
TEXT_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "str.startswith": str.startswith, "str.endswith": str.endswith, "str.contains": operator.contains,
}  # fmt: skip
HINT_OF_NAME = {"None": "isna()", "none": "isna()", "nan": "isna()", "NaN": "isna()", "null": "isna()", "NA": "isna()"}


@dataclass(frozen=True)
class _Values:
    """The values of a part of the condition, one a row: of one kind, None where one is missing."""

    kind: str
    values: Sequence[Any]
    part: Node


def rows_that_hold(condition: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[bool] | None:
    """Return for which rows a condition holds; None when it is no condition, but a value.

    Args:
        condition: see common/conditions/grammar.py.
        columns: the names that may stand in it.
        rows: column to number, text, or a missing value (None or NaN).

    Raises:
        ExpressionError: it is not of the grammar, names another column, or compares what cannot be compared.
    """
    table = _Table(columns, rows)
    found = table.of(parsed(condition))
    truths = _as_truths(found)
    if truths is None or not table.has_read:
        return None
    return [value is True for value in truths]


class _Table:
    """Values of columns, and of what is made of them."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        self._columns, self._rows = columns, rows
        self.has_read = False  # a column: what names none is true or false of no row

    def of(self, node: Node) -> _Values:
        """Return the values of a part of the condition."""
        if isinstance(node, Literal):
            return _Values(_kind_of(node.value), [node.value] * len(self._rows), node)
        if isinstance(node, Name):
            return self._column(node)
        if isinstance(node, RowTest):
            return _Values(TRUTH, self._tested(node), node)
        if node.operator in COMPARED:
            left, right = map(self.of, node.parts)
            return _Values(TRUTH, _compared(node, left, right), node)
        if node.operator in ("and", "or", "not"):
            return _Values(TRUTH, self._joined(node), node)
        return _Values(NUMBER, self._calculated(node), node)

    def _column(self, node: Name) -> _Values:
        self.has_read = True
        if node.name not in self._columns:
            raise ExpressionError(
                f"no column {shown(node.name)[1:-1]}{_nearest(node.name, self._columns)}", node.position
            )
        values = [None if isinstance(value, float) and math.isnan(value) else value for value in self._raw(node.name)]
        kinds = {_kind_of(value) for value in values if value is not None}
        assert len(kinds) <= 1, "a column has one type"
        return _Values(kinds.pop() if kinds else NOTHING, values, node)

    def _raw(self, name: str) -> Sequence[Any]:
        return [row[name] for row in self._rows]

    def _tested(self, node: RowTest) -> list[bool | None]:
        column = self.of(node.column)
        if node.method in ("isna", "isnull", "notna", "notnull"):
            return [(value is None) == node.method.startswith("is") for value in column.values]
        literals = [self.of(literal) for literal in node.arguments]
        for literal in literals:
            _check_alike(column, literal, node.position)
        wanted = [literal.value for literal in node.arguments]
        if node.method == "isin":
            kept = frozenset(wanted)
            return [None if value is None else value in kept for value in column.values]
        if node.method == "between":
            least, most = wanted
            return [None if value is None else least <= value <= most for value in column.values]
        if column.kind not in (TEXT, NOTHING):
            raise ExpressionError(f"{node.method} is of texts, and {_named(column)}", node.position)
        return [None if value is None else TEXT_TESTS[node.method](value, str(wanted[0])) for value in column.values]

    def _joined(self, node: Operation) -> list[bool | None]:
        parts = []
        for part in node.parts:
            values = self.of(part)
            truths = _as_truths(values)
            if truths is None:
                raise ExpressionError(
                    f"{node.operator} joins what is true or false, and {_named(values)}; write a comparison",
                    part.position,
                )
            parts.append(truths)
        if node.operator == "not":
            return [None if value is None else not value for value in parts[0]]
        decides = node.operator == "or"  # one True decides an or, one False an and, whatever is missing
        return [_decided(truths, decides=decides) for truths in zip(*parts, strict=True)]

    def _calculated(self, node: Operation) -> list[float | None]:
        parts = [self.of(part) for part in node.parts]
        for values in parts:
            if values.kind not in (NUMBER, NOTHING):
                raise ExpressionError(f"one calculates with numbers, and {_named(values)}", values.part.position)
        if node.operator == "negative":
            return [None if value is None else -value for value in parts[0].values]
        return [_folded(node.operator, numbers) for numbers in zip(*(part.values for part in parts), strict=True)]


def _folded(signs: str, numbers: Sequence[float | None]) -> float | None:
    """Calculate from the left; missing where a number is missing, and where there is no number (1 / 0)."""
    found = numbers[0]
    for sign, number in zip(signs, numbers[1:], strict=True):
        if found is None or number is None or (sign == "/" and number == 0):
            return None
        found = CALCULATED[sign](float(found), float(number))
    return found if found is not None and math.isfinite(found) else None


def _decided(truths: Sequence[bool | None], *, decides: bool) -> bool | None:
    if decides in truths:
        return decides
    return None if None in truths else not decides


def _compared(node: Operation, left: _Values, right: _Values) -> list[bool | None]:
    left, right = _alike(left, right), _alike(right, left)
    _check_alike(left, right, node.position)
    if TRUTH in (left.kind, right.kind) and node.operator not in ("==", "!="):
        raise ExpressionError(f"true and false have no order; write == or != for {node.operator}", node.position)
    compare = COMPARED[node.operator]
    return [
        None if one is None or other is None else compare(one, other)
        for one, other in zip(left.values, right.values, strict=True)
    ]


def _alike(values: _Values, other: _Values) -> _Values:
    """Return a column's 0 and 1, or its texts true and false, as truths where it is compared with one."""
    if other.kind != TRUTH:
        return values
    if values.kind == NUMBER and {0, 1} >= set(values.values) - {None}:
        return _Values(TRUTH, [None if value is None else bool(value) for value in values.values], values.part)
    truths = _as_truths(values)
    return values if truths is None else _Values(TRUTH, truths, values.part)


def _as_truths(values: _Values) -> Sequence[bool | None] | None:
    """Return truths, those of a column of the words true and false too; None for other values."""
    if values.kind in (TRUTH, NOTHING) and not isinstance(values.part, Name):
        return values.values
    words = {value.casefold() for value in values.values if value is not None} if values.kind == TEXT else set()
    if not words or not words <= TRUE_OR_FALSE.keys() or isinstance(values.part, Literal):
        return None
    return [None if value is None else TRUE_OR_FALSE[value.casefold()] for value in values.values]


def _check_alike(left: _Values, right: _Values, position: int) -> None:
    if left.kind == right.kind or NOTHING in (left.kind, right.kind):
        return
    hint = ""
    for literal, other in ((left.part, right.kind), (right.part, left.kind)):
        if isinstance(literal, Literal) and other == TEXT:
            hint = f"; write it in quotation marks: '{literal.text[:40]}'"
        elif isinstance(literal, Literal) and other == NUMBER and isinstance(literal.value, str):
            hint = "; write a number without quotation marks"
    raise ExpressionError(f"{_named(left)}, and {_named(right)}{hint}", position)


def _kind_of(value: object) -> str:
    if isinstance(value, bool):
        return TRUTH
    return TEXT if isinstance(value, str) else NUMBER


def _named(values: _Values) -> str:
    """Say what a part of the condition is."""
    kind = {NUMBER: "number", TEXT: "text", TRUTH: "truth (true or false)", NOTHING: "missing values"}[values.kind]
    if isinstance(values.part, Name):
        kind = {"number": "numbers"}.get(kind, kind)
        return f"{shown(values.part.name)[1:-1]} is a column of {kind}"
    if isinstance(values.part, Literal):
        return f"{values.part.text[:40]} is a {kind}"
    return f"what stands there is a {kind}"


def _nearest(name: str, columns: Sequence[str]) -> str:
    if name in HINT_OF_NAME:
        return "; for missing values write COLUMN.isna()"
    return nearest(name, columns)
