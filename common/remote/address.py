"""The address of a slide that lies elsewhere: what is asked for, and what of it may be shown."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
BRACKETS = re.compile(r"\[[^\]]*\]")  # around an address of IPv6
HTTP = ("http", "https")
HIDDEN = "***"
LEAST_SECRET = 4  # characters: shorter parts of an address are words of their own


@dataclass(frozen=True, repr=False)
class Address:
    """A URL, or a path that fsspec knows (s3://bucket/slide.svs). Its text may hold a password or a signature: `shown` does not."""

    text: str

    def __repr__(self) -> str:
        return f"Address({self.shown})"

    __str__ = __repr__

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.text)

    @property
    def scheme(self) -> str:
        """What stands before ://, in lower case."""
        return self._parts.scheme.lower()

    @property
    def is_http(self) -> bool:
        """Whether a web server has it."""
        return self.scheme in HTTP

    @property
    def host(self) -> str:
        """The server or bucket, with its port, without who asks."""
        return self._parts.netloc.rpartition("@")[2]

    @property
    def login(self) -> tuple[str, str] | None:
        """The user's name and password in the address, if any."""
        who, found, _ = self._parts.netloc.rpartition("@")
        if not found:
            return None
        user, _, password = who.partition(":")
        return unquote(user), unquote(password)

    @property
    def request_target(self) -> str:
        """The address without user and password, for a server that gets these in a header."""
        parts = self._parts
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        return parts._replace(netloc=self.host, path=path or "/", query=query, fragment="").geturl()

    @property
    def shown(self) -> str:
        """Scheme, host and path: without user, password and query, whose signature opens the file to whoever reads it."""
        return f"{self.scheme}://{self.host}{self._parts.path}"

    @property
    def ending(self) -> str:
        """The ending of the file's name; "" where the path has none."""
        return PurePosixPath(unquote(self._parts.path)).suffix

    def key(self, slide_id: str) -> str:
        """Name the slide of this address: hex. A new signature leaves the name; what the query asks for may differ by slide."""
        return hashlib.sha256("\0".join((slide_id, self.shown)).encode("utf-8", "surrogatepass")).hexdigest()

    def cleaned(self, text: str) -> str:
        """Return the message of a library without what must not be shown of this address."""
        for secret in sorted(self._secrets(), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def _secrets(self) -> set[str]:
        parts = self._parts
        who = parts.netloc.rpartition("@")[0]
        values = [value for _, value in parse_qsl(parts.query, keep_blank_values=True)]
        found = {who, *who.split(":"), *(self.login or ()), parts.query, *values, *map(quote, values), parts.fragment}
        return {secret for secret in found if len(secret) >= LEAST_SECRET}


def address_fault(text: str) -> str:
    """Say why a text is no address of a slide; empty where it is one. The text itself is not repeated: it may hold a password."""
    if "::" in BRACKETS.sub("", text.partition("?")[0]):
        return "joins two addresses by ::, which is not followed; give the file's own"
    if not SCHEME.match(text):
        return (
            "is no address: wanted https://, s3://, gs:// or another of fsspec's, or file:///folder/slide.svs for a file of "
            "this computer"
        )
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        return f"is no address ({type(error).__name__}); check brackets and port"
    faults = {
        "has a space or a line break in it; write %20 for a space": any(
            sign.isspace() or ord(sign) < 32 for sign in text
        ),
        "names no server": not parts.netloc and parts.scheme.lower() in HTTP,
        "names no file": not parts.path.strip("/") and not parts.netloc,
    }
    return next((fault for fault, is_so in faults.items() if is_so), "")
