"""Damage on which HDF5's library hangs or crashes costs its own file only, and the file is named."""

import json
import os
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from common.arrays import read_attributes, stale_reason, write_arrays
from common.guards import hdf5_probe
from common.guards.sealed_files import LENGTH
from features.convert_features import main as convert
from features.exchange.bag import Source
from features.exchange.layout_readers import read_exchange_bag


@pytest.fixture(autouse=True)
def own_process(monkeypatch):
    monkeypatch.setattr(hdf5_probe, "LOOP_S", 0.5)
    monkeypatch.setattr(hdf5_probe, "_known", {})
    yield
    hdf5_probe._end()


def trident(path, n=20):
    with h5py.File(path, "w") as file:
        file["features"] = np.ones((n, 8), np.float32)
        file["coords"] = np.stack([np.arange(n) * 512, np.zeros(n)], axis=1).astype(np.int64)
        file["coords"].attrs["patch_size_level0"], file["coords"].attrs["patch_size"] = 512, 256
        file["coords"].attrs["name"] = "a text"
        file["features"].attrs["encoder"] = "uni"


def stamp(path):
    with h5py.File(path, "w") as file:
        file["feats"] = np.ones((20, 8), np.float16)
        file["coords"] = np.ones((20, 2), np.float32) * 224
        file.attrs["extractor"], file.attrs["tile_size_um"], file.attrs["unit"] = "x", 256.0, "um"


def unsealed(path):
    write_arrays(path, {"coords": np.zeros((20, 2), np.int64)}, {"schema": "tiles/2", "tile_um": 256.0, "name": "text"})
    path.write_bytes(path.read_bytes()[:-LENGTH])


def zeroed(content, offset):
    return content[:offset] + bytes(64) + content[offset + 64 :]


def looping(make, folder):
    """Return a file of this kind on which the library never ends, found by trying."""
    path = folder / "S.h5"
    make(path)
    good = path.read_bytes()
    for offset in range(1024, min(len(good), 8192), 32):
        path.write_bytes(zeroed(good, offset))
        try:
            read_exchange_bag(Source(path=path, slide_id="S", is_header=True))
        except ValueError as error:
            if "does not end" in str(error):
                return path
    raise AssertionError("no damage made the library hang")


@pytest.mark.slow
@pytest.mark.parametrize("make", [trident, stamp])
def test_d2_no_damage_of_foreign_features_hangs_or_ends_the_reader(tmp_path, make):
    path = looping(make, tmp_path)
    for is_header in (True, False):
        with pytest.raises(ValueError, match=r"S\.h5: .*reading it does not end \(stopped after"):
            read_exchange_bag(Source(path=path, slide_id="S", is_header=is_header))


@pytest.mark.slow
def test_d2_files_of_earlier_versions_have_no_checksum_and_do_not_hang_either(tmp_path):
    path = tmp_path / "S.h5"
    unsealed(path)
    good = path.read_bytes()
    for offset in range(0, len(good), 64):
        path.write_bytes(zeroed(good, offset))
        reason = stale_reason(path, {"schema": "tiles/2"})
        assert reason is None or "S.h5" in reason or "changed from" in reason


@pytest.mark.slow
def test_d2_a_conversion_names_the_file_and_goes_on_with_the_others(tmp_path, capsys):
    source, out = tmp_path / "from", tmp_path / "out"
    source.mkdir()
    broken = looping(trident, source).read_bytes()
    for name in "ABC":
        trident(source / f"{name}.h5")
    (source / "S.h5").write_bytes(broken)
    assert convert(["--features", str(source), "--to", "clam", "--out", str(out), "--study", str(tmp_path)]) == 1
    rows = (out / "status.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows[1:]] == ["done", "done", "done", "failed"]
    assert "does not end" in rows[-1]
    assert "S.h5" in capsys.readouterr().out


def test_d2_a_crash_of_the_library_is_the_files_fault_and_the_next_file_is_read(tmp_path, monkeypatch):
    for name in ("S", "T"):
        trident(tmp_path / f"{name}.h5")
    crash = hdf5_probe.START.replace(
        "serve()", "hdf5_probe._read_through = lambda *own: os.abort(); hdf5_probe.serve()"
    )
    crash = crash.replace(
        "from common.guards.hdf5_probe import serve", "import os; from common.guards import hdf5_probe"
    )
    with monkeypatch.context() as patch:
        patch.setattr(hdf5_probe, "START", crash)
        with pytest.raises(ValueError, match=r"S\.h5: .*crashes on it \(exit code -6\)"):
            read_exchange_bag(Source(path=tmp_path / "S.h5", slide_id="S"))
    assert read_exchange_bag(Source(path=tmp_path / "T.h5", slide_id="T")).n_tiles == 20


def test_d2_one_process_serves_all_files_and_remembers_what_it_read(tmp_path, monkeypatch):
    asked = []
    answer = hdf5_probe._answer
    monkeypatch.setattr(hdf5_probe, "_answer", lambda *own: (asked.append(own[1]), answer(*own))[1])
    for name in ("S", "T"):
        trident(tmp_path / f"{name}.h5")
        os.utime(tmp_path / f"{name}.h5", (1, 1))
    source = Source(path=tmp_path / "S.h5", slide_id="S", is_header=True)
    read_exchange_bag(source)
    process = hdf5_probe._process
    read_exchange_bag(source)
    read_exchange_bag(Source(path=tmp_path / "T.h5", slide_id="T"))
    read_exchange_bag(Source(path=tmp_path / "T.h5", slide_id="T", is_header=True))
    assert asked == [frozenset({"coords"}), frozenset({"coords", "features", "feats", "patch_embeddings"})]
    assert hdf5_probe._process is process
    trident(tmp_path / "S.h5", n=30)
    assert read_exchange_bag(source).n_tiles == 30
    assert len(asked) == 3


def test_a_system_that_starts_no_process_reads_the_file_all_the_same(tmp_path, monkeypatch):
    trident(tmp_path / "S.h5")
    monkeypatch.setattr(hdf5_probe, "_running", lambda: None)
    assert read_exchange_bag(Source(path=tmp_path / "S.h5", slide_id="S")).n_tiles == 20


@pytest.mark.parametrize(("chunks", "step"), [((30, 8), 60), (None, 40), ((50, 8), 50)])
def test_an_array_is_read_by_whole_chunks(monkeypatch, chunks, step):
    class Spied(np.ndarray):
        def __getitem__(self, rows):
            asked.append((rows.start, rows.stop))
            return np.asarray(self)[rows]

    asked, array = [], np.zeros((100, 8), np.float32).view(Spied)
    array.chunks = chunks
    monkeypatch.setattr(hdf5_probe, "PART_BYTES", 40 * 32)
    hdf5_probe._read_array(array)
    assert asked == [(start, start + step) for start in range(0, 100, step)]


def test_d2_a_file_with_its_checksum_needs_no_process(tmp_path):
    write_arrays(tmp_path / "S.h5", {"coords": np.zeros((2, 2))}, {"schema": "x"})
    assert read_attributes(tmp_path / "S.h5")["schema"] == "x"
    assert hdf5_probe._process is None


def test_d2_the_process_ends_with_its_caller_even_in_the_midst_of_a_loop(tmp_path):
    code = (
        "import os, sys; sys.path[0] = sys.argv[1]; from common.guards import hdf5_probe\n"
        "hdf5_probe.START = hdf5_probe.START.replace('serve()', 'import common.guards.hdf5_probe as own; '"
        " 'own._read_through = lambda *given: [None for _ in iter(int, 1)]; serve()')\n"
        "process = hdf5_probe._running(); print(process.pid, flush=True)\n"
        'process.stdin.write(\'{"path": "x", "arrays": [], "size": 1, "loop_s": 1, "wait_s": 9}\\n\')\n'
        "process.stdin.flush(); os.kill(os.getpid(), 9)"
    )
    caller = subprocess.run(
        [sys.executable, "-c", code, hdf5_probe.ROOT], stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    number = int(caller.stdout)
    end = time.monotonic() + 20
    while time.monotonic() < end and is_running(number):
        time.sleep(0.1)
    assert not is_running(number)


def is_running(number):
    try:
        with open(f"/proc/{number}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("arrays", "read"), [(None, ["coords", "deep/own", "features"]), (["features"], ["features"]), ([], [])]
)
def test_what_the_caller_reads_is_read_through_and_every_attribute(tmp_path, monkeypatch, arrays, read):
    path, seen, described = tmp_path / "S.h5", [], []
    trident(path)
    with h5py.File(path, "a") as file:
        file["deep/own"], file["kind"] = np.ones(3), np.dtype("f8")
    monkeypatch.setattr(hdf5_probe, "_read_array", lambda array: seen.append(array.name.removeprefix("/")))
    monkeypatch.setattr(hdf5_probe, "_read_attributes", lambda member: described.append(member.name))
    assert hdf5_probe._read_through(path, arrays) == ""
    assert sorted(seen) == read
    assert sorted(described) == ["/", "/coords", "/deep", "/deep/own", "/features"]


def test_single_values_and_empty_arrays_are_read_whole(tmp_path):
    with h5py.File(tmp_path / "S.h5", "w") as file:
        file["one"], file["none"] = 1.5, np.empty((0, 4))
        file.create_dataset("nothing", data=h5py.Empty("f4"))
        for name in ("one", "none", "nothing"):
            hdf5_probe._read_array(file[name])


def test_reading_that_takes_too_much_memory_is_damage_and_what_raises_otherwise_is_left_to_the_caller(
    tmp_path, monkeypatch
):
    trident(tmp_path / "S.h5")
    for error, fault in ((MemoryError, "takes more memory"), (KeyError, "")):

        def check(*_own, error=error):
            raise error("x")

        monkeypatch.setattr(hdf5_probe, "check_arrays", check)
        said = hdf5_probe._read_through(tmp_path / "S.h5", None)
        assert (fault in said) if fault else said == ""


STATE = (10, 20, 30)


@pytest.mark.parametrize(
    ("known", "asked", "is_covered"),
    [
        (None, None, False),
        ((STATE, None), None, True),
        ((STATE, None), frozenset("a"), True),
        (((11, 20, 30), None), frozenset("a"), False),
        ((STATE, frozenset("ab")), frozenset("a"), True),
        ((STATE, frozenset("ab")), frozenset("ab"), True),
        ((STATE, frozenset("ab")), frozenset("abc"), False),
        ((STATE, frozenset("ab")), None, False),
    ],
)
def test_a_file_is_asked_about_again_where_it_changed_or_more_is_read(known, asked, is_covered):
    assert hdf5_probe._covers(known, STATE, asked) == is_covered


def test_a_file_that_was_just_written_is_not_remembered(tmp_path, monkeypatch):
    path, asked, now = tmp_path / "S.h5", [], [1000.0]
    trident(path)
    monkeypatch.setattr(hdf5_probe, "_answer", lambda *own: asked.append(own) or "")
    monkeypatch.setattr(hdf5_probe.time, "time", lambda: now[0])
    for age, n_asked in ((0.0, 1), (2.0, 2), (2.5, 3), (2.5, 3)):
        os.utime(path, (1000.0 - age, 1000.0 - age))
        hdf5_probe.probe(path, None)
        assert len(asked) == n_asked
    assert asked[0] == (path, None, path.stat().st_size)
    monkeypatch.setattr(hdf5_probe, "_answer", lambda *_own: "its structure is damaged")
    path.touch()
    with pytest.raises(OSError, match="its structure is damaged"):
        hdf5_probe.probe(path, None)


class Ended:
    """A process that took a request and ended without an answer."""

    def __init__(self, code, line=""):
        self.returncode, self.line, self.asked = code, line, []
        self.stdin = self

    def write(self, text):
        self.asked.append(text)

    def flush(self):
        if self.line is None:
            raise BrokenPipeError


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (-27, "reading it does not end (stopped after 2 s of computing)"),
        (-14, "reading it does not end (stopped after 2 s of computing)"),
        (0, "reading it does not end"),
        (-11, "crashes on it (exit code -11)"),
        (1, "crashes on it (exit code 1)"),
    ],
)
@pytest.mark.parametrize("line", ["", None])
def test_how_the_process_ended_says_what_is_wrong_with_the_file(tmp_path, monkeypatch, code, fault, line):
    process, ended, limits = Ended(code, line), [], []
    monkeypatch.setattr(hdf5_probe, "_running", lambda: process)
    monkeypatch.setattr(hdf5_probe, "_end", lambda: ended.append(1))
    monkeypatch.setattr(hdf5_probe, "_line", lambda _process, limit_s: limits.append(limit_s) or "")
    assert fault in hdf5_probe._answer(tmp_path / "S.h5", frozenset("ab"), 30_000_000)  # 0.5 s, and 1.5 for its size
    assert ended == [1]
    request = json.loads(process.asked[0])
    assert (sorted(request["arrays"]), request["size"]) == (["a", "b"], 30_000_000)
    assert (request["loop_s"], request["wait_s"]) == (2.0, 90.0)
    assert limits == ([] if line is None else [95.0])


def test_an_answer_is_what_the_process_says(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_probe, "_running", lambda: Ended(None))
    monkeypatch.setattr(hdf5_probe, "_line", lambda *_own: '{"fault": "odd"}')
    assert hdf5_probe._answer(tmp_path / "S.h5", None, 1) == "odd"
    hdf5_probe._process = None


def test_the_process_may_take_four_gibibytes_beside_twice_the_files_size(monkeypatch):
    import resource

    hard = [-1]
    set_to, timers = [], []
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (0, hard[0]))
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: set_to.append(limits))
    monkeypatch.setattr(hdf5_probe.signal, "setitimer", lambda *own: timers.append(own))
    hdf5_probe._limit(1.5, 2.5, 100)
    hard[0] = 1 << 30
    hdf5_probe._limit(0, 0, 100)
    hdf5_probe._limit(0, 0, 0)
    assert set_to == [((4 << 30) + 200, -1), (1 << 30, 1 << 30), (1 << 30, 1 << 30)]
    assert [seconds for _, seconds in timers] == [1.5, 2.5, 0, 0, 0, 0]
