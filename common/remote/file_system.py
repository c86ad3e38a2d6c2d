"""A slide in a place that fsspec knows (s3, gs, az, sftp, memory ...), read piece by piece."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from common.failures import SlideError
from common.remote.address import Address
from common.remote.source import DroppedError, Version, changed

Value = TypeVar("Value")
STALL_S = 120.0  # for one piece; drivers try again by themselves
PIECE = 8 << 20
DRIVERS = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "sftp": "paramiko",
    "ssh": "paramiko",
}
ETAGS, TIMES = ("ETag", "etag"), ("LastModified", "last_modified", "updated", "mtime", "created")
INSTALL = "pip install 'sarcoma-mil[remote]'"


class FileSystem:
    """One slide in a file system of fsspec."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._opened: tuple[Any, str] | None = None

    def version(self) -> Version:
        """Ask for size, mark and time of the file."""
        told = self._call(lambda files, path: files.info(path))
        if told.get("type") == "directory":
            raise SlideError(f"{self._address.shown} is a folder", "give the address of one file")
        size = told.get("size")
        return Version(
            size=int(size) if isinstance(size, int | float) else None,
            etag=next((str(told[name]) for name in ETAGS if told.get(name)), ""),
            modified=next((str(told[name]) for name in TIMES if told.get(name)), ""),
            checksum=_checksum(told),
        )

    def read(self, start: int, version: Version) -> Iterator[tuple[int, bytes]]:
        """Yield the file from `start`."""
        if version.size is None:
            raise SlideError(f"{self._address.shown} does not say its size", "copy the slide to slides/")
        at = start
        while at < version.size:
            end = min(at + PIECE, version.size)
            piece = self._call(lambda files, path, at=at, end=end: files.cat_file(path, start=at, end=end))
            if len(piece) != end - at:
                if self.version().differs_from(version):
                    raise changed(self._address)
                raise DroppedError(f"{len(piece):,} bytes came where {end - at:,} were asked for")
            yield at, piece
            at = end

    def _call(self, function: Callable[..., Any]) -> Any:
        try:
            files, path = self._opened or self._open()
            return within(STALL_S, lambda: function(files, path))
        except (SlideError, DroppedError):
            raise
        except FileNotFoundError:
            raise SlideError(f"there is no {self._address.shown}", "correct the address in the table") from None
        except PermissionError as error:
            raise SlideError(
                f"{self._address.shown} is not given to us ({self._said(error)})",
                "check the credentials of this computer",
            ) from None
        except Exception as error:  # of any driver
            raise DroppedError(self._said(error)) from None

    def _open(self) -> tuple[Any, str]:
        scheme = self._address.scheme
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise SlideError(f"{scheme}:// is read by the package fsspec, which is not installed", INSTALL) from None
        try:
            files, path = url_to_fs(self._address.text, skip_instance_cache=True, use_listings_cache=False)
        except ImportError as error:
            driver = DRIVERS.get(scheme, "")
            named = f"pip install {driver}" if driver else self._said(error)
            raise SlideError(
                f"{scheme}:// is read by the package {driver or 'of its driver'}, which is not installed", named
            ) from None
        except ValueError as error:
            raise SlideError(
                f"{scheme}:// is no place that fsspec knows ({self._said(error)})", "correct the address in the table"
            ) from None
        self._opened = files, path
        return self._opened

    def _said(self, error: BaseException) -> str:
        return self._address.cleaned(f"{type(error).__name__}: {error}")


def within(seconds: float, function: Callable[[], Value]) -> Value:
    """Call a function that may wait for ever, and wait no longer than that.

    Raises:
        DroppedError: it has not ended; its thread is left to itself.
    """
    outcome: list[tuple[bool, Any]] = []

    def run() -> None:
        try:
            outcome.append((True, function()))
        except BaseException as error:
            outcome.append((False, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise DroppedError(f"no answer within {seconds:g} s")
    is_value, found = outcome[0]
    if not is_value:
        raise found
    return found  # type: ignore[no-any-return]


def _checksum(told: dict[str, Any]) -> tuple[str, str] | None:
    """Return the MD5 that Google's store tells in base64."""
    try:
        raw = base64.b64decode(str(told.get("md5Hash") or ""), validate=True)
    except ValueError:
        return None
    return ("md5", raw.hex()) if len(raw) == 16 else None
