"""Web servers on this computer that serve files as servers do, and as they should not."""

import hashlib
import threading
from collections import Counter
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class SlideServer:
    """What a server has and how it behaves, and what it was asked for.

    Attributes:
        files: path (with its slash) to content.
        drop_after: bytes of the body after which a connection ends, for the first `drops` answers to GET.
        has_ranges: whether it can begin elsewhere than at 0.
        has_marks: whether it tells ETag and Last-Modified.
        extra_size: added to the length that HEAD tells.
        extra_length: added to the length that GET tells.
        headers: further headers of each answer.
        codes: path to a code with which it is refused.
        login: the header Authorization that is wanted.
        sends_on: path to another address.
        after_get: called behind each GET.
        stalls: whether a body stops without end after `drop_after`.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.drop_after, self.drops, self.stalls = None, 0, False
        self.has_ranges = self.has_marks = self.has_head = True
        self.extra_size = self.extra_length = 0
        self.headers: dict[str, str] = {}
        self.codes: dict[str, int] = {}
        self.sends_on: dict[str, str] = {}
        self.login = None
        self.after_get = None
        self.asked: list[tuple[str, str, str]] = []  # method, path with query, Range
        self.sent = Counter()  # path to bytes of bodies
        self.url = ""
        self.lock = threading.Lock()
        self.end = threading.Event()

    def n_gets(self, path=None):
        return sum(method == "GET" and path in (None, urlsplit(target).path) for method, target, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    own: SlideServer

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(has_body=False)

    def do_GET(self):
        self._answer(has_body=True)

    def _answer(self, *, has_body):
        own, path = self.own, urlsplit(self.path).path
        with own.lock:
            own.asked.append((self.command, self.path, self.headers.get("Range", "")))
        if path in own.sends_on:
            return self._end(302, {"Location": own.sends_on[path]})
        if own.login is not None and self.headers.get("Authorization") != own.login:
            return self._end(401)
        if not has_body and not own.has_head:
            return self._end(405)
        if path in own.codes or path not in own.files:
            return self._end(own.codes.get(path, 404))
        content = own.files[path]
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        marks = {"ETag": etag, "Last-Modified": formatdate(len(content), usegmt=True)} if own.has_marks else {}
        start, code = 0, 200
        span = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        if span and own.has_ranges and (condition is None or condition in marks.values()):
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, code = int(first), 206
            if start >= len(content):
                return self._end(416)
            body = content[start : int(last) + 1 if last else None]
            marks["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(content)}"
        else:
            body = content
        length = len(body) + (own.extra_length if has_body else own.extra_size)
        self.send_response(code)
        for name, value in {**marks, **own.headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if has_body:
            self._send(path, body)
            if own.after_get is not None:
                own.after_get()
        return None

    def _send(self, path, body):
        own = self.own
        with own.lock:
            is_dropped = own.drop_after is not None and own.drops > 0 and len(body) > own.drop_after
            own.drops -= is_dropped
        part = body[: own.drop_after] if is_dropped else body
        try:
            self.wfile.write(part)
            self.wfile.flush()
        except ConnectionError:  # who asked has gone
            self.close_connection = True
            return
        with own.lock:
            own.sent[path] += len(part)
        if is_dropped and own.stalls:
            own.end.wait(60)
        if is_dropped or own.extra_length > 0:
            self.close_connection = True

    def _end(self, code, headers=None):
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def slide_server(folder: Path | None = None):
    """Serve the files of a folder (each under /its name) until the end."""
    own = SlideServer()
    if folder is not None:
        own.files = {f"/{path.name}": path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"own": own}))
    server.daemon_threads = True
    own.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield own
    finally:
        own.end.set()
        server.shutdown()
        server.server_close()
        thread.join()
