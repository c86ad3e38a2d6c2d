import base64
import hashlib
import importlib.util
import io
import socket
import urllib.request

import fsspec
import numpy as np
import pytest

from common.failures import SlideError
from common.files import UnwritableError
from common.remote import fetching, web_server
from common.remote.address import Address
from common.remote.fetching import asked_version, fetch
from tests.helpers.slide_server import slide_server

CONTENT = np.random.default_rng(0).bytes(3_000_000)
WAITS = []


@pytest.fixture
def server():
    WAITS.clear()
    with slide_server() as own:
        own.files["/S1.svs"] = CONTENT
        yield own


def fetched(own, folder, path="/S1.svs", **options):
    address = Address(own.url + path)
    fetch(address, asked_version(address, sleep=WAITS.append), folder / "partial", sleep=WAITS.append, **options)
    return (folder / "partial").read_bytes()


def test_a_file_comes_whole_and_each_byte_once(server, tmp_path):
    assert fetched(server, tmp_path) == CONTENT
    assert server.sent["/S1.svs"] == len(CONTENT)
    assert server.n_gets() == 1


def test_a_dropped_connection_is_gone_on_with_where_it_ended(server, tmp_path):
    server.drop_after, server.drops = 700_000, 3
    assert fetched(server, tmp_path) == CONTENT
    assert server.sent["/S1.svs"] == len(CONTENT)
    assert [span for method, _, span in server.asked if method == "GET"] == [
        "", "bytes=700000-", "bytes=1400000-", "bytes=2100000-",
    ]  # fmt: skip


def test_without_ranges_it_begins_anew(server, tmp_path):
    server.has_ranges, server.drop_after, server.drops = False, 700_000, 2
    assert fetched(server, tmp_path) == CONTENT
    assert server.sent["/S1.svs"] == len(CONTENT) + 1_400_000


def test_without_head_the_first_byte_is_asked_for(server, tmp_path):
    server.has_head = False
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked[1] == ("GET", "/S1.svs", "bytes=0-0")


def test_what_a_killed_process_left_is_gone_on_with(server, tmp_path):
    (tmp_path / "partial").write_bytes(CONTENT[:1_000_001])
    assert fetched(server, tmp_path) == CONTENT
    assert server.sent["/S1.svs"] == len(CONTENT) - 1_000_001


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_connection_that_always_drops_is_given_up(server, tmp_path, has_ranges):
    server.has_ranges, server.drop_after, server.drops = has_ranges, 0 if has_ranges else 1000, 99
    with pytest.raises(
        SlideError, match=r"cannot be fetched: the connection ended after [\d,]+ bytes of 3,000,000; check the network"
    ):
        fetched(server, tmp_path)
    assert server.n_gets() <= fetching.ATTEMPTS + 1
    assert WAITS[-3:] == [0.5, 1.0, 2.0]


def test_a_stalled_connection_ends(server, tmp_path, monkeypatch):
    monkeypatch.setattr(web_server, "STALL_S", 0.2)
    server.drop_after, server.drops, server.stalls = 1000, 99, True
    server.has_ranges = False
    with pytest.raises(SlideError, match="timed out"):
        fetched(server, tmp_path)


def test_a_connection_that_trickles_ends(server, tmp_path, monkeypatch):
    monkeypatch.setattr(web_server, "SLOW_S", -1.0)
    monkeypatch.setattr(web_server, "SLOW_BYTES", 1 << 40)
    monkeypatch.setattr(web_server, "PIECE", 1 << 10)
    with pytest.raises(SlideError, match=r"only [\d,]+ bytes came"):
        fetched(server, tmp_path)


def test_no_server_is_no_hang(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with pytest.raises(SlideError, match=r"127.0.0.1:\d+/S1.svs cannot be fetched: no answer"):
        asked_version(Address(f"http://127.0.0.1:{port}/S1.svs"), sleep=WAITS.append)


@pytest.mark.parametrize(("extra_size", "extra_length"), [(1000, 0), (-1000, 0), (0, 1000), (0, -1000), (500, 500)])
def test_a_server_that_lies_about_the_size_is_named(server, tmp_path, extra_size, extra_length):
    server.extra_size, server.extra_length = extra_size, extra_length
    with pytest.raises(SlideError, match=r"bytes"):
        fetched(server, tmp_path)


@pytest.mark.parametrize("when", ["before", "on the way", "after"])
def test_a_file_that_changes_at_its_source_is_named(server, tmp_path, when):
    other = CONTENT[::-1]
    address = Address(server.url + "/S1.svs")
    version = asked_version(address)
    if when == "before":
        server.files["/S1.svs"] = other
    else:
        server.after_get = lambda: server.files.update({"/S1.svs": other})
        server.drop_after, server.drops = 1000, int(when == "on the way")
    with pytest.raises(SlideError, match="changed at its source while it was fetched"):
        fetch(address, version, tmp_path / "partial", sleep=WAITS.append)


@pytest.mark.parametrize("is_true", [True, False])
@pytest.mark.parametrize("header", ["Repr-Digest", "Digest", "Content-MD5", "x-goog-hash", "x-amz-checksum-sha256"])
def test_a_checksum_is_looked_at(server, tmp_path, header, is_true):
    told = CONTENT if is_true else CONTENT[1:]
    sha256, md5 = (base64.b64encode(hashlib.new(kind, told).digest()).decode() for kind in ("sha256", "md5"))
    server.headers[header] = {
        "Repr-Digest": f"sha-256=:{sha256}:", "Digest": f"sha-256={sha256}", "Content-MD5": md5,
        "x-goog-hash": f"crc32c=AAAAAA==,md5={md5}", "x-amz-checksum-sha256": sha256,
    }[header]  # fmt: skip
    if is_true:
        assert fetched(server, tmp_path) == CONTENT
        return
    with pytest.raises(SlideError, match="another content than its server says"):
        fetched(server, tmp_path)
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (404, "there is no http"),
        (410, "there is no"),
        (403, "is not given to us"),
        (401, "is not given"),
        (418, "refuses"),
    ],
)
def test_refusals_are_told_once_and_not_tried_again(server, tmp_path, code, said):
    server.codes["/S1.svs"] = code
    with pytest.raises(SlideError, match=said):
        fetched(server, tmp_path)
    assert len(server.asked) <= 2
    assert not WAITS


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.codes["/S1.svs"] = 503
    with pytest.raises(SlideError, match="busy"):
        fetched(server, tmp_path)
    assert len(WAITS) == fetching.ATTEMPTS - 1


def test_s3_another_host_is_not_asked(server, tmp_path):
    with slide_server() as other:
        other.files["/S1.svs"] = CONTENT
        server.sends_on["/S1.svs"] = f"{other.url}/S1.svs?token=verysecret"
        with pytest.raises(SlideError, match="sends on to another") as raised:
            fetched(server, tmp_path)
        assert not other.asked
    assert "verysecret" not in str(raised.value)


def test_a_server_may_send_on_to_itself_by_a_safer_way_only():
    handler = web_server._SameHost()
    for before, after, is_followed in (
        ("http://e.org/a.svs", "https://e.org/a.svs", True), ("https://e.org/a.svs", "http://e.org/a.svs", False),
        ("http://e.org/a.svs", "https://f.org/a.svs", False), ("https://e.org/a.svs", "https://e.org/b.svs", True),
    ):  # fmt: skip
        request = urllib.request.Request(before, method="HEAD")
        if is_followed:
            assert handler.redirect_request(request, None, 302, "", {}, after).get_method() == "HEAD"
        else:
            with pytest.raises(SlideError, match="sends on"):
                handler.redirect_request(request, io.BytesIO(), 302, "", {}, after)


def test_a_server_may_send_on_within_itself(server, tmp_path):
    server.sends_on["/old.svs"] = "/S1.svs"
    assert fetched(server, tmp_path, "/old.svs") == CONTENT


def test_s3_name_and_password_go_in_a_header(server, tmp_path):
    server.login = "Basic " + base64.b64encode(b"anna:s3cr@t").decode()
    address = Address(server.url.replace("://", "://anna:s3cr%40t@") + "/S1.svs")
    fetch(address, asked_version(address), tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT


def test_a_full_disk_is_no_fault_of_the_slide(server, tmp_path):
    (tmp_path / "partial").mkdir()
    with pytest.raises(UnwritableError):
        fetched(server, tmp_path)


def test_file_systems_of_fsspec(tmp_path):
    fsspec.filesystem("memory").pipe_file("/slides/S1.svs", CONTENT)
    address = Address("memory://slides/S1.svs")
    fetch(address, asked_version(address), tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory://no/such.svs", "there is no memory://no/such.svs"),
        ("nosuch://e.org/S1.svs", "is no place that fsspec knows"),
        ("s3://bucket/S1.svs", "is read by the package s3fs, which is not installed; pip install s3fs"),
    ],
)
def test_what_fsspec_cannot_find_is_told(text, said):
    if text.startswith("s3") and importlib.util.find_spec("s3fs") is not None:
        pytest.skip("the driver is installed")
    with pytest.raises(SlideError, match=said):
        asked_version(Address(text), sleep=WAITS.append)
