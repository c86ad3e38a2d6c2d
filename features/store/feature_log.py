"""The embeddings of a slide on their way to its file: appended block by block, flushed to disk, found again after a kill.

A record says whose rows it holds and proves itself by a checksum; a torn last record is cut off. The header names all that
decides the embeddings: a log that was made otherwise is discarded. The log stands beside its target as `.NAME.log`.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Float16, Int64

from common.files import replacing, writing

_HEAD = struct.Struct("<4sII")  # magic, length and crc32 of what follows
SYNC_S = 1.0  # between two waits for the disk, which can take as long as the embeddings of a block
_MAGIC = b"EMB1"


@dataclass(frozen=True)
class LogRecord:
    """The embeddings of some rows of a bag, for one of its parts; unreadable rows have none."""

    part: str
    rows: Int64[np.ndarray, " n"]
    unreadable: Int64[np.ndarray, " m"]
    features: Float16[np.ndarray, "n dim"]
    reading: str = ""  # how the slide was read


class FeatureLog:
    """An open log."""

    def __init__(self, target: Path, header: Mapping[str, Any]) -> None:
        """Open the log of a target file; records of an earlier run with an equal header are kept.

        They are copied: a run that was taken for dead and is not writes on to a file that nobody reads.
        """
        self.path = target.with_name(f".{target.name}.log")
        self._done: dict[str, list[np.ndarray]] = {}
        self._synced = time.monotonic()
        self.dimensions: dict[str, int] = {}
        header_text = json.dumps(header, sort_keys=True, default=str).encode()
        with writing(self.path):
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = _opened(self.path)
        end = 0
        for position, payload in self._payloads():
            if end == 0 and payload != header_text:
                break
            if end > 0:
                self._remember(_decoded(payload))
            end = position
        self._file.truncate(end)
        if end == 0:
            self._write(header_text)

    @property
    def n_kept(self) -> int:
        """How many rows the log holds, over all parts."""
        return sum(len(rows) for parts in self._done.values() for rows in parts)

    def append(self, record: LogRecord) -> None:
        """Add a record. What came within the last second may not outlive the machine, but any end of the process."""
        head = {
            "part": record.part, "n": len(record.rows), "m": len(record.unreadable), "dim": record.features.shape[1],
            "reading": record.reading,
        }  # fmt: skip
        text = json.dumps(head).encode()
        arrays = (record.rows.astype("<i8"), record.unreadable.astype("<i8"), record.features.astype("<f2"))
        self._write(struct.pack("<I", len(text)) + text + b"".join(array.tobytes() for array in arrays))
        self._remember(record)

    def is_done(self, part: str, n_rows: int) -> Bool[np.ndarray, " n"]:
        """Return which of a bag's rows the log holds for a part, embedded or found unreadable."""
        done = np.zeros(n_rows, dtype=bool)
        for rows in self._done.get(part, []):
            done[rows] = True
        return done

    def records(self) -> Iterator[LogRecord]:
        """Read the records back, one at a time."""
        for index, (_, payload) in enumerate(self._payloads()):
            if index > 0:
                yield _decoded(payload)

    def close(self) -> None:
        """Close the log and keep it for the next run."""
        self._file.close()

    def remove(self) -> None:
        """Close the log and delete it: its target is written, or it holds nothing."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _remember(self, record: LogRecord) -> None:
        self._done.setdefault(record.part, []).append(np.concatenate([record.rows, record.unreadable]))
        if len(record.rows) or record.part not in self.dimensions:  # one without a row has nothing to show its width
            self.dimensions[record.part] = record.features.shape[1]

    def _write(self, payload: bytes) -> None:
        with writing(self.path):
            self._file.seek(0, os.SEEK_END)
            self._file.write(_HEAD.pack(_MAGIC, len(payload), zlib.crc32(payload)) + payload)
            self._file.flush()
            if time.monotonic() - self._synced > SYNC_S:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()

    def _payloads(self) -> Iterator[tuple[int, bytes]]:
        """Yield the end and the content of each whole record; stop at the first that is not."""
        position = 0
        while True:
            self._file.seek(position)
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            magic, length, crc = _HEAD.unpack(head)
            if magic != _MAGIC:
                return
            payload = self._file.read(length)
            if len(payload) < length or zlib.crc32(payload) != crc:
                return
            position += _HEAD.size + length
            yield position, payload


def _opened(path: Path) -> BinaryIO:
    """Open a log to read and write it, an empty one if there is none; a link is replaced, never written through.

    A file that has a second name elsewhere is a link too.
    """
    if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
        path.unlink()
    elif path.is_file() and path.stat().st_size:
        with replacing(path) as partial:
            shutil.copyfile(path, partial)
    return os.fdopen(
        os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0), 0o666), "rb+"
    )


def _decoded(payload: bytes) -> LogRecord:
    (length,) = struct.unpack_from("<I", payload)
    head = json.loads(payload[4 : 4 + length])
    at = 4 + length
    rows = np.frombuffer(payload, "<i8", head["n"], at).astype(np.int64)
    at += rows.nbytes
    unreadable = np.frombuffer(payload, "<i8", head["m"], at).astype(np.int64)
    at += unreadable.nbytes
    features = np.frombuffer(payload, "<f2", head["n"] * head["dim"], at).reshape(head["n"], head["dim"])
    return LogRecord(head["part"], rows, unreadable, features.astype(np.float16), head["reading"])
