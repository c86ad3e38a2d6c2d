"""Which requests are answered: those to this computer's own address, from its own page, that only read.

Another site's page in the same browser could else read slides by a name that it lets lead here (DNS rebinding), or ask for
them across sites. Every answer says what its page may load: nothing but this server's own files.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = "127.0.0.1"
OWN_NAMES = (LOOPBACK, "localhost", "[::1]")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


class OwnPageOnly:
    """Middleware that refuses foreign hosts, foreign origins and anything but reading, and adds headers to answers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = refused(scope["method"], headers)
        if refusal is not None:
            await PlainTextResponse(refusal, status_code=403)(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))


def refused(method: str, headers: dict[str, str]) -> str | None:
    """Return why a request is refused; None where it is answered."""
    if method not in ("GET", "HEAD"):
        return "this server only shows; it takes no other request than GET"
    if _name_of(headers.get("host", "")) not in OWN_NAMES:
        return "this server answers only to its own address on this computer"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return "this server answers only to its own page"
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "this server answers only to its own page"
    return None


def _name_of(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("content-security-policy", POLICY)
            headers["x-content-type-options"] = "nosniff"
            headers["referrer-policy"] = "no-referrer"
            headers["cross-origin-resource-policy"] = "same-origin"
        await send(message)

    return sending
