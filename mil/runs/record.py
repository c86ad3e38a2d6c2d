"""Frozen dataclasses as JSON and back: a key that is unknown or missing, or a value of another type, is an error by name.

Read are nested dataclasses, tuples, dict[str, X], X | None and plain values; a key that is no Python name is that of
`keyed`. A file says its schema first, so a file of an earlier version is told from a damaged one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import Field, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from common.failures import StudyError
from common.files import write_json

T = TypeVar("T")
Scalar = str | int | float | bool | None
SEAL = "content_sha256"  # the key of a sealed record's checksum


class SchemaError(StudyError):
    """A file is of another schema, or of none: an earlier or a later version wrote it."""


def keyed(key: str) -> Any:
    """Return a field that stands under another key in JSON."""
    return field(metadata={"key": key})


def present() -> Any:
    """Return a field that stands in JSON only where it is not None: one that came later leaves earlier files as they are."""
    return field(default=None, metadata={"may_lack": True})


def plain(value: Any) -> Any:
    """Return a record as dicts, lists and plain values."""
    if is_dataclass(value):
        known = {each: getattr(value, each.name) for each in fields(value)}
        return {
            _key(each): plain(own)
            for each, own in known.items()
            if not (own is None and each.metadata.get("may_lack"))
        }
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def write_record(path: Path, record: object, schema: str) -> None:
    """Write a record under its schema, atomically."""
    write_json(path, {"schema": schema, **plain(record)})


def write_sealed(path: Path, record: object, schema: str) -> None:
    """Write a record with a sha256 over all that stands in it, atomically."""
    values = {"schema": schema, **plain(record)}
    write_json(path, {**values, SEAL: _seal(values)})


def read_sealed(path: Path, kind: type[T], schema: str, remedy: str) -> T:
    """Read a record that proves it is what was written.

    Raises:
        SchemaError: it is of another schema.
        StudyError: it is no such record, or its checksum differs; names the file and what to do.
    """
    values = read_json(path, schema, remedy)
    found = values.pop(SEAL, None)
    record = record_of(kind, values, path, remedy)
    if found != _seal({"schema": schema, **values}):
        raise StudyError(f"{path}: its content is not what was written (checksum differs); {remedy}")
    return record


def _seal(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps(values, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ).hexdigest()


def read_json(path: Path, schema: str, remedy: str) -> dict[str, Any]:
    """Return what stands in a file of this schema, less the schema.

    Raises:
        SchemaError: it is of another schema.
        StudyError: it is no JSON, or cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:  # a folder of this name, brackets without end
        raise StudyError(f"{path}: not readable as JSON ({error}); {remedy}") from error
    known = record.pop("schema", None) if isinstance(record, dict) else None
    if known != schema:
        raise SchemaError(f"{path}: schema {known or 'missing'}, not {schema}; {remedy}")
    return record


def read_record(path: Path, kind: type[T], schema: str, remedy: str) -> T:
    """Read a record.

    Raises:
        SchemaError: it is of another schema.
        StudyError: it is no such record; names the file, the key and what to do.
    """
    return record_of(kind, read_json(path, schema, remedy), path, remedy)


def record_of(kind: type[T], value: Any, path: Path, remedy: str) -> T:
    """Return what was read from `path` as a record.

    Raises:
        StudyError: it is no such record; names the file, the key and what to do.
    """
    try:
        return _parsed(kind, value, "")  # type: ignore[no-any-return]
    except _WrongValueError as error:
        raise StudyError(f"{path}: {error}; {remedy}") from error


class _WrongValueError(Exception):
    """A value is not what its key wants."""


def _key(each: Field[Any]) -> str:
    return str(each.metadata.get("key", each.name))


@cache
def _keys(kind: type) -> dict[str, tuple[str, Any]]:
    """Return each JSON key of a dataclass with its field and type."""
    types = get_type_hints(kind)
    return {_key(each): (each.name, types[each.name]) for each in fields(kind)}


@cache
def _may_lack(kind: type) -> tuple[str, ...]:
    """Return the JSON keys of a dataclass that may be absent."""
    return tuple(_key(each) for each in fields(kind) if each.metadata.get("may_lack"))


def _parsed(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as `kind`; `where` is the way of keys to it."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if isinstance(kind, UnionType):
        return _one_of(parts, value, where)
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    if origin is dict and isinstance(value, dict):
        return {name: _parsed(parts[1], each, f"{where}.{name}") for name, each in value.items()}
    if origin is tuple and isinstance(value, list):
        wanted = [parts[0]] * len(value) if parts[-1] is ... else parts
        if len(wanted) == len(value):
            return tuple(
                _parsed(part, each, f"{where}[{at}]") for at, (part, each) in enumerate(zip(wanted, value, strict=True))
            )
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if origin is None and (type(value) is kind or (kind is float and is_whole)):
        return value
    raise _WrongValueError(f"{where.lstrip('.') or 'the file'} is {_shown(value)}, not {_named(kind)}")


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """Return None for null, else the value as the first kind that takes it; with one kind its own error is the better one."""
    if value is None and NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not NoneType]
    if len(others) == 1:
        return _parsed(others[0], value, where)
    exact = [kind for kind in others if type(value) is kind]
    if not exact:
        raise _WrongValueError(f"{where.lstrip('.')} is {_shown(value)}, not {' or '.join(map(_named, others))}")
    return value


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    place = where.lstrip(".") or "the file"
    if not isinstance(value, dict):
        raise _WrongValueError(f"{place} is {_shown(value)}, not a mapping")
    wanted = _keys(kind)
    value = {**dict.fromkeys(_may_lack(kind)), **value}
    for fault, names in (("lacks", wanted.keys() - value.keys()), ("has an unknown key", value.keys() - wanted.keys())):
        if names:
            raise _WrongValueError(f"{place} {fault} {', '.join(sorted(names))}")
    return kind(**{name: _parsed(own, value[key], f"{where}.{key}") for key, (name, own) in wanted.items()})


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]} ..."


def _named(kind: Any) -> str:
    origin = get_origin(kind) or kind
    return "a list" if origin is tuple else "a mapping" if origin is dict else str(getattr(kind, "__name__", kind))
