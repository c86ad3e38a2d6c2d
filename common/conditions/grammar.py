"""The grammar of conditions on the rows of the clinical table (--where, --external): from text to a tree, and nothing runs.

    or          and, and ...                                  also |
    and         not, not ...                                  also &
    not         not not | comparison
    comparison  sum < sum <= sum ... | sum [not] in [literal, ...]
    sum, product, factor        + -    * /    - ~
    atom        name | `name with blanks` | 12.5 | 'text' | true | false | (or) | name.method(literal, ...)

Texts come out of tables, of study.yaml and of records of splits that somebody else may have made, so this parser is our own:
it knows these words and no others, and it gives up on long and deep texts before they cost time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from common.conditions.tokens import ExpressionError, Literal, Name, Node, Operation, RowTest, Token, shown, tokens_of

MAX_DEPTH = 20  # brackets, not and minus signs inside each other
MAX_OPERATIONS = 500
MAX_DIGITS = 40
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
WORDS = ("and", "or", "not", "in")
TRUTHS = {"true": True, "True": True, "false": False, "False": False}
METHODS = {  # to the least and most literals in their brackets
    "isna": (0, 0), "isnull": (0, 0), "notna": (0, 0), "notnull": (0, 0), "between": (2, 2), "isin": (1, 1),
    "str.startswith": (1, 1), "str.endswith": (1, 1), "str.contains": (1, 1),
}  # fmt: skip
PATTERN_SIGNS = frozenset("\\^$|?*+()[]{}")  # with them, pandas' str.contains would look for a pattern


def parsed(text: str) -> Node:
    """Return the tree of a condition.

    Raises:
        ExpressionError: it is too long, too deep, or not of the grammar.
    """
    parser = _Parser(tokens_of(text))
    tree = parser.either()
    parser.expect_end()
    return tree


class _Parser:
    """Recursive descent over the tokens; every way down goes through `_deeper`, so no text exhausts the stack."""

    def __init__(self, tokens: Iterator[Token]) -> None:
        self._tokens, self._next = tokens, next(tokens)
        self._depth = self._n_operations = 0

    def _go_on(self) -> None:
        self._next = next(self._tokens)

    def _take(self, *texts: str) -> Token | None:
        """Return the next token and go on, if it is one of these signs or words."""
        token = self._next
        if token.kind not in ("sign", "name") or token.text not in texts:
            return None
        self._go_on()
        return token

    def _expect(self, text: str, why: str) -> Token:
        token = self._take(text)
        if token is None:
            raise self._wrong(f"{text!r} {why}")
        return token

    def _wrong(self, wanted: str) -> ExpressionError:
        token = self._next
        if token.text == "=":
            return ExpressionError("'=' compares nothing; write ==", token.position)
        found = "the end" if token.kind == "end" else shown(token.text)
        return ExpressionError(f"found {found}, wanted {wanted}", token.position)

    def _counted(self, token: Token) -> int:
        self._n_operations += 1
        if self._n_operations > MAX_OPERATIONS:
            raise ExpressionError(f"more than {MAX_OPERATIONS} operations; name rows by `in [...]`", token.position)
        return token.position

    def _deeper(self, token: Token, rule: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"brackets and signs lie more than {MAX_DEPTH} deep", token.position)
        node = rule()
        self._depth -= 1
        return node

    def expect_end(self) -> None:
        """Refuse what stands behind the condition."""
        if self._next.kind != "end":
            raise self._wrong("and, or, a comparison or the end")

    def either(self) -> Node:
        """Parse the whole condition, or what stands in brackets."""
        return self._joined("or", ("or", "|"), self._both)

    def _both(self) -> Node:
        return self._joined("and", ("and", "&"), self._negated)

    def _joined(self, operator: str, signs: tuple[str, ...], rule: Callable[[], Node]) -> Node:
        parts, position = [rule()], self._next.position
        while (token := self._take(*signs)) is not None:
            self._counted(token)
            parts.append(rule())
        return parts[0] if len(parts) == 1 else Operation(operator, tuple(parts), position)

    def _negated(self) -> Node:
        if (token := self._take("not")) is None:
            return self._comparison()
        return Operation("not", (self._deeper(token, self._negated),), self._counted(token))

    def _comparison(self) -> Node:
        left = self._sum()
        is_not = self._take("not")
        if is_not is not None or self._next.text == "in":
            token = self._expect("in", "behind not")
            found = RowTest("isin", left, self._list(), self._counted(token))
            return found if is_not is None else Operation("not", (found,), is_not.position)
        pairs = []
        while (sign := self._take(*COMPARISONS)) is not None:
            right = self._sum()
            pairs.append(Operation(sign.text, (left, right), self._counted(sign)))
            left = right
        if not pairs:
            return left
        return pairs[0] if len(pairs) == 1 else Operation("and", tuple(pairs), pairs[0].position)

    def _sum(self) -> Node:
        return self._calculated(("+", "-"), lambda: self._calculated(("*", "/"), self._factor))

    def _calculated(self, signs: tuple[str, ...], rule: Callable[[], Node]) -> Node:
        parts, position, found = [rule()], self._next.position, ""
        while (sign := self._take(*signs)) is not None:
            self._counted(sign)
            found += sign.text
            parts.append(rule())
        return Operation(found, tuple(parts), position) if found else parts[0]

    def _factor(self) -> Node:
        if (token := self._take("-")) is not None:
            part = self._deeper(token, self._factor)
            if isinstance(part, Literal) and isinstance(part.value, int | float) and not isinstance(part.value, bool):
                return Literal(-part.value, f"-{part.text}", token.position)
            return Operation("negative", (part,), self._counted(token))
        if (token := self._take("~")) is not None:
            return Operation("not", (self._deeper(token, self._factor),), self._counted(token))
        return self._atom()

    def _atom(self) -> Node:
        token = self._next
        if (bracket := self._take("(")) is not None:
            node = self._deeper(bracket, self.either)
            self._expect(")", f"for the bracket at character {bracket.position + 1}")
            return node
        literal = self._literal()
        if literal is not None:
            return literal
        if token.kind == "quoted" or (token.kind == "name" and token.text not in WORDS):
            self._go_on()
            name = Name(token.text.strip("`"), token.position)
            return self._tested(name) if self._next.text == "." and self._next.kind == "sign" else self._uncalled(name)
        raise self._wrong("a column, a number, a text in quotation marks or a bracket")

    def _uncalled(self, name: Name) -> Name:
        if self._next.text == "(" and self._next.kind == "sign":
            raise ExpressionError(f"there is no function {shown(name.name)}; {_methods()}", name.position)
        return name

    def _tested(self, name: Name) -> Node:
        """Parse a method behind a column."""
        words: list[str] = []
        while self._take(".") is not None:
            if self._next.kind != "name":
                raise self._wrong("a method")
            if len(words) > 1:
                raise self._wrong("the brackets of a method")
            words.append(self._next.text)
            self._go_on()
        method = ".".join(words)
        if method not in METHODS:
            whole = f"{name.name}.{method}"
            raise ExpressionError(
                f"{shown(whole)} is neither a method nor a column as it stands; {_methods()}, and a name with dots or "
                f"blanks stands in back-ticks (`{whole}`)" if len(whole) < 80 else f"no such method; {_methods()}",
                name.position,
            )  # fmt: skip
        bracket = self._expect("(", f"behind {method}")
        position = self._counted(bracket)
        arguments = self._list() if method == "isin" else self._arguments(method)
        self._expect(")", f"for the bracket at character {bracket.position + 1}")
        least, most = METHODS[method]
        if method != "isin" and not least <= len(arguments) <= most:
            raise ExpressionError(f"{method} takes {most} value(s), got {len(arguments)}", bracket.position)
        return RowTest(method, name, tuple(arguments), position)

    def _arguments(self, method: str) -> tuple[Literal, ...]:
        """Parse literals with commas, and for texts the switches of pandas that change nothing here."""
        found: list[Literal] = []
        is_plain, start = False, self._next.position
        while self._next.text != ")":
            switch = self._next
            if method.startswith("str.") and self._take("na", "regex") is not None:
                self._expect("=", f"behind {switch.text}")
                if self._take("False", "false") is None:
                    raise self._wrong(f"False; {switch.text} has no other value here")
                is_plain |= switch.text == "regex"
            elif (literal := self._signed_literal()) is not None:
                found.append(literal)
            else:
                raise self._wrong("a value or a closing bracket")
            if self._take(",") is None:
                break
        is_pattern = method == "str.contains" and not is_plain
        if is_pattern and any(PATTERN_SIGNS & set(literal.text[1:-1]) for literal in found):
            signs = " ".join(sorted(PATTERN_SIGNS))
            raise ExpressionError(
                f"contains looks for the text as it stands, not for a pattern; if one of {signs} is meant as it stands, "
                f"add regex=False, and for one of several texts join conditions by or",
                start,
            )
        return tuple(found)

    def _list(self) -> tuple[Literal, ...]:
        opening = self._take("[", "(")
        if opening is None:
            raise self._wrong("a list such as ['a', 'b']")
        closing, found = {"[": "]", "(": ")"}[opening.text], []
        while self._take(closing) is None:
            literal = self._signed_literal()
            if literal is None:
                raise self._wrong(f"a number, a text in quotation marks or {closing!r}")
            found.append(literal)
            if self._take(",") is None:
                self._expect(closing, f"for the list at character {opening.position + 1}")
                break
        return tuple(found)

    def _signed_literal(self) -> Literal | None:
        sign = self._take("-")
        literal = self._literal()
        if sign is None or literal is None:
            return literal
        if isinstance(literal.value, str | bool):
            raise ExpressionError(f"-{literal.text} is no number", sign.position)
        return Literal(-literal.value, f"-{literal.text}", sign.position)

    def _literal(self) -> Literal | None:
        token = self._next
        value: float | int | str | bool
        if token.kind == "number":
            if len(token.text) > MAX_DIGITS:
                raise ExpressionError(f"a number of more than {MAX_DIGITS} digits", token.position)
            value = int(token.text) if token.text.isdigit() else float(token.text)
        elif token.kind == "text":
            value = re.sub(r"\\(['\"`\\])", r"\1", token.text[1:-1])
        elif token.kind == "name" and token.text in TRUTHS:
            value = TRUTHS[token.text]
        else:
            return None
        self._go_on()
        return Literal(value, token.text, token.position)


def _methods() -> str:
    return f"the methods of a column are {', '.join(METHODS)}"
