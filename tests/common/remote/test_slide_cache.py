import pickle
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from common.failures import SlideError
from common.remote.address import Address
from common.remote.ahead import fetched_ahead
from common.remote.remote_slide import (
    Origin,
    held_file,
    in_use,
    local_file,
    now,
    origin_of,
    remembered_fingerprint,
    remote_slide,
)
from common.remote.slide_cache import SlideCache
from common.slide_files import file_fingerprint
from tests.helpers.slide_server import slide_server

KB = 1000


@pytest.fixture
def server():
    with slide_server() as own:
        for number in range(6):
            own.files[f"/S{number}.svs"] = np.random.default_rng(number).bytes(100 * KB)
        yield own


def slide(own, folder, number, *, max_bytes=250 * KB, since=None):
    address = Address(f"{own.url}/S{number}.svs?sig=verysecret")
    cache = SlideCache(folder / "cache", max_bytes)
    return remote_slide(
        Origin(address, f"S{number}", cache, folder / "known" / f"S{number}.json", now() if since is None else since)
    )


def in_cache(folder):
    return sorted(
        path.name for path in (folder / "cache").rglob("*") if path.is_file() and not path.name.startswith(".")
    )


def test_a_slide_is_fetched_once_and_kept(server, tmp_path):
    own = slide(server, tmp_path, 1)
    for _ in range(3):
        with local_file(own) as file:
            assert file.read_bytes() == server.files["/S1.svs"]
            assert file.name == "S1.svs"
    assert server.sent["/S1.svs"] == 100 * KB


def test_the_least_recently_used_leaves(server, tmp_path):
    for number in (0, 1, 0, 2):
        with local_file(slide(server, tmp_path, number)):
            pass
        time.sleep(0.02)
    assert in_cache(tmp_path) == ["S0.svs", "S2.svs"]
    total = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert total <= 250 * KB


def test_a_slide_that_is_read_stays(server, tmp_path):
    with local_file(slide(server, tmp_path, 0)) as first:
        for number in (1, 2, 3):
            with local_file(slide(server, tmp_path, number)):
                assert first.is_file()
    assert "S0.svs" in in_cache(tmp_path)


def test_a_slide_larger_than_the_cache_is_fetched_once_for_a_job(server, tmp_path):
    own = slide(server, tmp_path, 0, max_bytes=10 * KB)
    with in_use(own):
        for _ in range(3):
            with local_file(own):
                pass
        assert server.sent["/S0.svs"] == 100 * KB
    assert in_cache(tmp_path) == []


def test_what_is_known_is_not_fetched_again(server, tmp_path):
    fingerprint = file_fingerprint(slide(server, tmp_path, 0, max_bytes=0))
    (tmp_path / "S0.svs").write_bytes(server.files["/S0.svs"])
    assert fingerprint == file_fingerprint(tmp_path / "S0.svs")
    server.asked.clear()
    time.sleep(0.05)
    later = slide(server, tmp_path, 0)
    assert file_fingerprint(later) == file_fingerprint(later) == remembered_fingerprint(later) == fingerprint
    assert [method for method, _, _ in server.asked] == ["HEAD"]  # once a command


def test_a_slide_that_changed_is_another(server, tmp_path):
    before = file_fingerprint(slide(server, tmp_path, 0))
    server.files["/S0.svs"] = server.files["/S1.svs"]
    time.sleep(0.05)
    own = slide(server, tmp_path, 0)
    assert file_fingerprint(own) != before
    with local_file(own) as file:
        assert file.read_bytes() == server.files["/S1.svs"]


def test_damaged_notes_are_asked_for_anew(server, tmp_path):
    own = slide(server, tmp_path, 0)
    fingerprint = file_fingerprint(own)
    note = tmp_path / "known" / "S0.json"
    for text in ("", "{}", "[]", '{"schema": "remote_slide/1"}', note.read_text().replace("100000", '"x"')):
        note.write_text(text)
        assert file_fingerprint(own) == fingerprint


def test_s3_nothing_on_the_disk_has_the_secret(server, tmp_path):
    file_fingerprint(slide(server, tmp_path, 0))
    for path in tmp_path.rglob("*"):
        assert "verysecret" not in str(path)
        assert not path.is_file() or b"verysecret" not in path.read_bytes()


PROCESS = """
import sys
from pathlib import Path
from common.remote.address import Address
from common.remote.remote_slide import Origin, local_file, now, remote_slide
from common.remote.slide_cache import SlideCache
url, folder = sys.argv[1], Path(sys.argv[2])
own = remote_slide(Origin(Address(url), "S0", SlideCache(folder / "cache", 10**9), folder / "known" / "S0.json", now()))
with local_file(own) as file:
    print(len(file.read_bytes()))
"""


def in_process(server, folder):
    command = [sys.executable, "-c", PROCESS, f"{server.url}/S0.svs", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[3])


def test_two_processes_share_a_cache(server, tmp_path):
    server.files["/S0.svs"] = bytes(20_000 * KB)
    both = [in_process(server, tmp_path) for _ in range(2)]
    assert [own.communicate()[0].strip() for own in both] == ["20000000"] * 2
    assert server.sent["/S0.svs"] == 20_000 * KB


def test_a_killed_process_leaves_what_the_next_goes_on_with(server, tmp_path):
    server.files["/S0.svs"] = bytes(20_000 * KB)
    server.drop_after, server.drops, server.stalls = 8_000 * KB, 1, True
    killed = in_process(server, tmp_path)
    while not any(path.stat().st_size >= 8_000 * KB for path in tmp_path.rglob(".partial")):
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    with local_file(slide(server, tmp_path, 0)) as file:
        assert file.stat().st_size == 20_000 * KB
    assert server.sent["/S0.svs"] == 20_000 * KB


def test_paths_know_their_origin_in_a_worker_and_what_is_derived_has_none(server, tmp_path):
    own = slide(server, tmp_path, 0)
    assert origin_of(pickle.loads(pickle.dumps(own))) == origin_of(own)
    assert own.name == "S0.svs" and not own.is_dir()
    for derived in (own.parent, own.with_suffix(".x"), own / "y", Path(own)):
        assert origin_of(derived) is None
        pickle.loads(pickle.dumps(derived))
    assert "verysecret" not in repr(own) + str(own) + repr(origin_of(own))


def wait_for(is_true):
    end = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_slides_come_ahead_in_a_window_and_leave_when_done(server, tmp_path):
    slides = {f"S{number}": slide(server, tmp_path, number) for number in range(6)}
    with fetched_ahead(slides, window=2) as ahead:
        wait_for(lambda: in_cache(tmp_path) == ["S0.svs", "S1.svs"])
        time.sleep(0.1)
        assert in_cache(tmp_path) == ["S0.svs", "S1.svs"]
        ahead.done("S0")
        wait_for(lambda: in_cache(tmp_path) == ["S1.svs", "S2.svs"])
        for number in range(1, 6):
            with local_file(slides[f"S{number}"]):
                pass
            ahead.done(f"S{number}")
    assert all(server.sent[f"/S{number}.svs"] == 100 * KB for number in range(6))


def test_what_is_not_needed_is_not_fetched_ahead(server, tmp_path):
    slides = {f"S{number}": slide(server, tmp_path, number) for number in range(3)}
    with fetched_ahead(slides, window=3, is_needed=lambda name: name == "S2"):
        wait_for(lambda: in_cache(tmp_path) == ["S2.svs"])
    assert server.n_gets() == 1


def test_slides_that_lie_here_need_no_thread(tmp_path):
    before = threading.active_count()
    with fetched_ahead({"a": tmp_path / "a.svs"}, window=2):
        assert threading.active_count() == before


def test_what_fails_ahead_is_told_by_who_opens_it(server, tmp_path):
    own = slide(server, tmp_path, 9)
    with fetched_ahead({"S9": own}, window=2), pytest.raises(SlideError, match="there is no"):
        held_file(own)


def test_fetching_ahead_ends_with_the_command(server, tmp_path):
    server.files["/S0.svs"] = bytes(30_000 * KB)
    server.drop_after, server.drops, server.stalls = 20_000 * KB, 1, True
    with fetched_ahead({"S0": slide(server, tmp_path, 0, max_bytes=10**9)}, window=1):
        wait_for(lambda: any(path.stat().st_size for path in tmp_path.rglob(".partial")))
        server.end.set()
    assert not in_cache(tmp_path) or server.sent["/S0.svs"] >= 30_000 * KB


def test_a_disk_without_room_is_told(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(SlideError, match=r"has 100,000 bytes, and the disk of .* has 5 free"):
        held_file(slide(server, tmp_path, 0))


def test_another_process_that_is_stuck_is_told(server, tmp_path, monkeypatch):
    from common.remote import slide_cache
    from common.remote.locks import take_lock
    from common.remote.remote_slide import kept

    monkeypatch.setattr(slide_cache, "STUCK_S", 0.3)
    own = slide(server, tmp_path, 0)
    place = kept(own)
    lock = take_lock(place.entry.folder / slide_cache.FETCHING, is_shared=False, waits=True)
    with lock, pytest.raises(SlideError, match=r"another process fetches S0\.svs .* nothing has come"):
        held_file(own)
    place.close()
