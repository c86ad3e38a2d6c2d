"""A slide on a web server: asked for by HEAD, read by GET, from the middle where the server can (Range).

No other host is asked than the one of the address: a server that sends on to another is refused with its name.
"""

from __future__ import annotations

import base64
import binascii
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from common.failures import SlideError
from common.remote.address import Address
from common.remote.source import PIECE, DroppedError, Version, changed

STALL_S = 20.0  # without a byte
SLOW_S, SLOW_BYTES = 60.0, 64 << 10  # fewer bytes in this time are none
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
GONE = frozenset({404, 410})
NO_HEAD = frozenset({400, 401, 403, 405, 501})  # an address signed for GET is refused a HEAD
MAX_WAIT_S = 30.0
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a server that sends on within itself only."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        is_safer = (before.scheme, after.scheme) == ("http", "https") and before.hostname == after.hostname
        if (before.scheme, before.netloc) != (after.scheme, after.netloc) and not is_safer:
            fp.close()
            where = f"{after.scheme}://{after.netloc.rpartition('@')[2]}"
            raise SlideError(
                f"the server sends on to another ({where}), which is not followed", "give the file's own address"
            )
        method = req.get_method()
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            request.method = method
        return request


class WebServer:
    """One slide on a web server."""

    def __init__(self, address: Address) -> None:
        self._address = address
        own = () if _is_this_computer(address) else (urllib.request.ProxyHandler(),)
        proxies = own or (urllib.request.ProxyHandler({}),)
        self._opener = urllib.request.build_opener(*proxies, _SameHost())

    def version(self) -> Version:
        """Ask by HEAD, or where that is refused for the first byte."""
        try:
            with closing(self._open("HEAD", {})) as answer:
                return _version(answer.headers)
        except _RefusedError as refused:
            if refused.code not in NO_HEAD:
                raise self._as_slide_error(refused) from None
        try:
            with closing(self._open("GET", {"Range": "bytes=0-0"})) as answer:
                return _version(answer.headers)
        except _RefusedError as refused:
            raise self._as_slide_error(refused) from None

    def read(self, start: int, version: Version) -> Iterator[tuple[int, bytes]]:
        """Yield the file from `start`, or from 0 where the server cannot begin elsewhere."""
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            mark = version.etag if version.etag and not version.etag.startswith("W/") else version.modified
            if mark:
                headers["If-Range"] = mark
        try:
            answer = self._open("GET", headers)
        except _RefusedError as refused:
            if refused.code == 416:
                if self.version().differs_from(version):
                    raise changed(self._address) from None
                raise DroppedError(f"the server has nothing behind {start:,} bytes{_of(version.size)}") from None
            raise self._as_slide_error(refused) from None
        with closing(answer):
            at = _begin(answer, start)
            _check_same(self._address, version, _version(answer.headers))
            yield from self._pieces(answer, at, version.size)

    def _pieces(self, answer: Any, at: int, size: int | None) -> Iterator[tuple[int, bytes]]:
        since, counted = time.monotonic(), 0
        while True:
            try:
                piece = answer.read1(PIECE)
            except http.client.IncompleteRead:
                raise DroppedError(f"the connection ended after {at:,} bytes{_of(size)}") from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise DroppedError(self._address.cleaned(f"{type(error).__name__}: {error}")) from None
            if not piece:
                break
            yield at, piece
            at, counted = at + len(piece), counted + len(piece)
            now = time.monotonic()
            if now - since > SLOW_S:
                if counted < SLOW_BYTES:
                    raise DroppedError(f"only {counted:,} bytes came in {SLOW_S:.0f} s", is_slow=True)
                since, counted = now, 0
        if size is not None and at < size:
            raise DroppedError(f"the connection ended after {at:,} bytes{_of(size)}")

    def _open(self, method: str, headers: Mapping[str, str]) -> Any:
        own = {"Accept-Encoding": "identity", "User-Agent": "sarcoma-mil", **headers}
        if (login := self._address.login) is not None:
            own["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
        request = urllib.request.Request(self._address.request_target, headers=own, method=method)
        try:
            answer = self._opener.open(request, timeout=STALL_S)
        except SlideError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in BUSY:
                raise DroppedError(f"the server is busy ({error.code})", wait_s=_asked_wait(error.headers)) from None
            raise _RefusedError(error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise DroppedError(self._address.cleaned(f"no answer ({reason})")) from None
        if (packed := answer.headers.get("Content-Encoding", "identity").lower()) not in ("", "identity"):
            answer.close()
            raise SlideError(
                f"{self._address.shown} is handed over packed ({packed}), which was not asked for",
                "have the server give the file as it is",
            )
        return answer

    def _as_slide_error(self, refused: _RefusedError) -> SlideError:
        shown, code = self._address.shown, refused.code
        if code in GONE:
            return SlideError(f"there is no {shown} ({code})", "correct the address in the table")
        if code in (401, 403, 407):
            return SlideError(
                f"{shown} is not given to us ({code})", "check name and password in the address, or have it signed anew"
            )
        return SlideError(
            f"the server refuses {shown} ({code})", "correct the address in the table, or ask who runs the server"
        )


class _RefusedError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _check_same(address: Address, before: Version, now: Version) -> None:
    if before.differs_from(now):
        if (before.etag, before.modified) == (now.etag, now.modified):
            raise SlideError(
                f"{address.shown} has {before.size:,} bytes by the server's first word and {now.size:,} by its second",
                "run the same command again; if it stays so, ask who runs the server",
            )
        raise changed(address)


def _begin(answer: Any, start: int) -> int:
    """Return where an answer begins."""
    if answer.status != 206:
        return 0
    told = RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
    if told is None or int(told[1]) != start:
        raise DroppedError("the server gave another part than was asked for")
    return start


def _version(headers: Any) -> Version:
    """Return what an answer says of the whole file; of a part, Content-Range has its size."""
    told = RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    text = told[2] if told else headers.get("Content-Length") or ""
    return Version(
        size=int(text) if text.isdecimal() else None,
        etag=(headers.get("ETag") or "").strip(),
        modified=(headers.get("Last-Modified") or "").strip(),
        checksum=None if told else _checksum(headers),
    )


def _checksum(headers: Any) -> tuple[str, str] | None:
    """Return the checksum of the content in the headers of an answer, the strongest first (RFC 9530, RFC 3230, S3, GCS)."""
    found: dict[str, str] = {}
    for name in ("Repr-Digest", "Content-Digest", "Digest", "x-goog-hash"):
        for text in headers.get_all(name) or ():
            for part in text.split(","):
                kind, _, value = part.strip().partition("=")
                found.setdefault(kind.lower().replace("-", ""), value.strip(":"))
    found.setdefault("sha256", headers.get("x-amz-checksum-sha256") or "")
    found.setdefault("md5", headers.get("Content-MD5") or "")
    for kind, n_bytes in (("sha256", 32), ("md5", 16)):
        try:
            raw = base64.b64decode(found.get(kind, ""), validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(raw) == n_bytes:
            return kind, raw.hex()
    return None


def _asked_wait(headers: Any) -> float:
    text = (headers.get("Retry-After") or "").strip() if headers is not None else ""
    return min(float(text), MAX_WAIT_S) if text.isdecimal() else 0.0


def _of(size: int | None) -> str:
    return "" if size is None else f" of {size:,}"


def _is_this_computer(address: Address) -> bool:
    return (urlsplit(address.text).hostname or "") in ("localhost", "127.0.0.1", "::1")
