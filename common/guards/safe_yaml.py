"""YAML read within bounds: a kilobyte may stand for a billion values, lie deeper than Python can go, or hold what cannot be."""

from __future__ import annotations

from typing import Any

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_VALUES = 100_000  # with each alias written out
PLAIN = ("null", "bool", "int", "float")


def yaml_value(text: str) -> Any:
    """Return what a YAML text says.

    Raises:
        ValueError: it is not YAML, too large, too deep, or a value in it cannot be.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text):,} characters long; {MAX_BYTES:,} are the most")
    try:
        _check_bounds(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def plain_value(text: str) -> Any:
    """Return the number, truth or null that a text says by YAML's rules, else the text: no list, no mapping, no tag."""
    loader = _Loader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    if tag.rpartition(":")[2] not in PLAIN or len(text) > 100:
        return text
    return loader.construct_object(yaml.ScalarNode(tag, text))


def _check_bounds(text: str) -> None:
    """Walk through the events, which are made one at a time and hold nothing."""
    depth, counts = 0, [0]
    sizes: dict[str | None, int] = {}
    inside: list[str | None] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = f"line {event.start_mark.line + 1}" if event.start_mark else ""
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"{place}: the alias *{event.anchor} stands for nothing before it")
            counts[-1] += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            counts[-1] += 1
            sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            counts.append(1)
            inside.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            size = counts.pop()
            sizes[inside.pop()] = size
            counts[-1] += size
        if depth > MAX_DEPTH:
            raise ValueError(f"{place}: lists and mappings lie more than {MAX_DEPTH} deep")
        if counts[-1] > MAX_VALUES:
            raise ValueError(f"{place}: more than {MAX_VALUES:,} values, with each alias written out")


class _Loader(yaml.SafeLoader):
    """Says where a value stands that cannot be."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
            kind, shown = node.tag.rpartition(":")[2], repr(node.value)[:60]
            place = f"line {node.start_mark.line + 1}: " if node.start_mark else ""
            raise ValueError(f"{place}{shown} is no {kind}; write a text in quotation marks") from error
