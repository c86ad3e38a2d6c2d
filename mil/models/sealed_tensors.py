"""Tensors and a JSON record in one safetensors file that proves every byte of itself. Loading it runs no code.

The checksum stands before the record, in the file's metadata: it is of all bytes of the file, with zeros in its own place.
(One key of metadata, since safetensors writes several in any order.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.failures import StudyError
from common.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

RECORD = "sarcoma_mil"
BLANK = b"0" * 64


def write_sealed_tensors(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a record, atomically; the same content is the same bytes."""
    from safetensors.torch import save

    text = json.dumps(record, sort_keys=True, ensure_ascii=True, allow_nan=False)
    own = {name: value.detach().contiguous() for name, value in tensors.items()}
    blank = save(own, metadata={RECORD: f"{BLANK.decode()} {text}"})
    place = _place_of_seal(blank, BLANK)
    assert place is not None, "it was just written"
    digest = hashlib.sha256(blank).hexdigest().encode()
    with replacing(path) as partial:
        partial.write_bytes(blank[:place] + digest + blank[place + len(BLANK) :])


def read_sealed_tensors(path: Path, *, schema: str, remedy: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the record of a file.

    Raises:
        StudyError: there is none, it is of another kind or schema, or a byte of it is not what was written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise StudyError(f"no model at {path}; {remedy}")
    content = path.read_bytes()
    try:
        seal, _, text = str(_metadata(content)[RECORD]).partition(" ")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StudyError(f"{path} is no model file, or damaged ({type(error).__name__}); {remedy}") from error
    if seal.startswith("{"):
        raise StudyError(f"{path} is one fold's model; give model.safetensors of its run's folder, or {remedy}")
    place = _place_of_seal(content, seal.encode("utf-8", "replace"))
    is_whole = place is not None and len(seal) == len(BLANK)
    if is_whole:
        assert place is not None
        blank = content[:place] + BLANK + content[place + len(BLANK) :]
        is_whole = hashlib.sha256(blank).hexdigest() == seal
    if not is_whole:
        raise StudyError(f"{path}: its content is not what was written (checksum differs); copy it again, or {remedy}")
    try:
        record, tensors = json.loads(text), load(content)
    except (ValueError, SafetensorError) as error:
        raise StudyError(f"{path}: not readable as a model ({error}); {remedy}") from error
    found = record.pop("schema", None) if isinstance(record, dict) else None
    if found != schema:
        raise StudyError(f"{path}: schema {found or 'missing'}, not {schema}; {remedy}")
    return tensors, record


def _metadata(content: bytes) -> dict[str, Any]:
    """Return the metadata in the head of a safetensors file: eight bytes of length, then JSON.

    Raises:
        ValueError: it has no such head.
    """
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= len(content) - 8:
        raise ValueError("no head of a safetensors file")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    if not isinstance(metadata, dict):
        raise ValueError("no metadata")
    return metadata


def _place_of_seal(content: bytes, seal: bytes) -> int | None:
    """Return where the checksum stands; None where the file does not say it exactly once in that form."""
    mark = f'"{RECORD}":"'.encode() + seal
    first = content.find(mark)
    if first < 0 or content.find(mark, first + 1) >= 0:
        return None
    return first + len(mark) - len(seal)
