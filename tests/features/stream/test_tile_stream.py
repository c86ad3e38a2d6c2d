"""The stream: patches of neighbours, shared memory, native resolution and its resize, resume, several encoders."""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from common.arrays import read_arrays
from common.failures import SlideError, StudyError
from features.device.binding import bind
from features.device.tile_pixels import (
    Preparation,
    StainVariation,
    _resized_in_float,
    on_device,
    prepared,
    resized,
    table_for,
    varied,
)
from features.embedding.loop import embed_slides
from features.store.feature_log import FeatureLog
from features.store.feature_store import read_feature_bag
from features.stream.shared_ring import SLOT_BYTES, SharedRing
from features.stream.tile_reader import close_slide, plan_reading, read_block
from features.stream.tile_stream import patches_of, stream_blocks
from preprocessing.colour.colour_map import apply_map
from preprocessing.colour.stain import REFERENCE, stain_map
from preprocessing.colour.stain_augmentation import augment_stains, stain_jitter
from preprocessing.reading.slide import open_slide, read_tile
from tests.helpers.embedding_jobs import MPP, READING, job, painted_slide, request, tiny_encoder

pytestmark = pytest.mark.slow  # seconds a test: networks, processes


@pytest.fixture(scope="module")
def single_level(tmp_path_factory):
    return painted_slide(tmp_path_factory.mktemp("slides") / "single.tif", is_single_level=True)


def test_patches_hold_each_tile_once_are_full_and_stay_in_one_place():
    rows, columns = 48, 57
    coords = np.array([(x * 512, y * 512) for y in range(rows) for x in range(columns)], np.int64)
    kept = np.random.default_rng(0).random(len(coords)) < 0.7
    patches = patches_of(coords[kept], 256)
    assert sorted(np.concatenate(patches).tolist()) == list(range(kept.sum()))
    assert {len(patch) for patch in patches[:-1]} == {256}
    assert 0 < len(patches[-1]) <= 256
    for patch in patches:
        extent = np.ptp(coords[kept][patch], axis=0) // 512 + 1
        assert extent[1] <= 32  # two bands of 16 at a turn
        assert extent[0] <= 30
        assert extent.prod() <= 2.5 * 256 / 0.7
    assert patches_of(np.empty((0, 2), np.int64), 256) == []
    assert [len(patch) for patch in patches_of(coords[:9], 4)] == [4, 4, 1]


@pytest.mark.parametrize(
    ("tile_um", "given_px"),
    [(16.0, (32, 32)), (32.0, (64, 64)), (25.3, (51, 51)), (15.9, (32, 32)), (90.2, (181, 181))],
)
def test_given_pictures_resized_are_the_tiles_of_read_area(single_level, tile_um, given_px):
    own = request(single_level, tile_um, 64)
    own = dataclasses.replace(own, coords=own.coords[:40])
    plan = plan_reading(own)
    assert (plan.reading, plan.given_px) == ("raw", given_px)
    given = read_block(own, plan).tiles
    close_slide()
    found = prepared(given, Preparation(tile_px=32, box_px=plan.box_px))
    with open_slide(single_level, mpp=(MPP, MPP)) as opened:
        expected = np.stack([read_tile(opened, x, y, tile_um=tile_um, tile_px=32) for x, y in own.coords.tolist()])
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.3


def test_tiles_between_the_pixels_of_a_level_are_resampled_by_the_reader(slide):
    own = request(slide, 64.0, 101)  # level 1, odd corners
    own = dataclasses.replace(own, coords=own.coords[:20])
    plan = plan_reading(own)
    assert plan.given_px == (32, 32)
    found = read_block(own, plan).tiles
    close_slide()
    with open_slide(slide, mpp=(MPP, MPP)) as opened:
        expected = np.stack([read_tile(opened, x, y, tile_um=64.0, tile_px=32) for x, y in own.coords.tolist()])
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 3
    assert difference.mean() < 0.5


def test_a_devices_resize_and_colours_are_the_processors():
    rng = np.random.default_rng(1)
    tiles = np.kron(rng.integers(0, 255, (3, 13, 13, 3)), np.ones((1, 4, 4, 1))).astype(np.uint8)
    tensor = torch.from_numpy(tiles)
    planes = _resized_in_float(tensor.permute(0, 3, 1, 2), (50.6, 51.2), 32, "bilinear").permute(0, 2, 3, 1)
    ours = resized(tensor, (50.6, 51.2), 32)
    assert int((planes.int() - ours.int()).abs().max()) <= 1
    how = Preparation(tile_px=32, box_px=(50.6, 51.2))
    assert np.array_equal(on_device(tensor, how, None).numpy(), prepared(tiles, how))


@pytest.mark.parametrize("n_tiles", [3, 1_000_000])
def test_a_devices_colours_are_the_processors_with_and_without_a_table(n_tiles):
    tiles = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    colour = stain_map(dataclasses.replace(REFERENCE, p99=np.array([1.5, 1.0])), REFERENCE)
    how = Preparation(tile_px=32, box_px=(32, 32), colour=colour, n_tiles=n_tiles)
    assert np.array_equal(prepared(tiles, how), apply_map(tiles, colour))
    assert np.array_equal(
        on_device(torch.from_numpy(tiles), how, table_for(how, torch.device("cpu"))).numpy(), apply_map(tiles, colour)
    )
    assert not np.array_equal(prepared(tiles, how), tiles)


def test_a_batch_of_tiles_in_varied_stains_is_each_tile_in_varied_stains():
    tiles = np.random.default_rng(3).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    rows = np.array([7, 0, 99])  # a batch filled up by a fourth
    how = StainVariation(slide_id="s", stains=REFERENCE, copy=2, strength=0.2, rows=rows)
    found = varied(torch.from_numpy(tiles), how).numpy()
    for tile, ours, row in zip(tiles, found, rows.tolist(), strict=False):
        expected = augment_stains(tile, REFERENCE, stain_jitter("s", row, copy=2, strength=0.2))
        assert np.abs(ours.astype(int) - expected).max() <= 1
        assert not np.array_equal(ours, tile)
    whole = Preparation(tile_px=16, box_px=(16, 16), variation=how)
    part = whole.part(1, 3)
    assert part.variation.rows.tolist() == [0, 99]
    assert np.array_equal(prepared(tiles[1:3], part), found[1:3])


def test_a_ring_gives_back_in_turn_and_lets_a_slot_rest_after_a_failure(monkeypatch):
    ring = SharedRing(2, 100)
    first, second = ring.take(), ring.take()
    ring.view(first, (5, 20))[:] = 7
    assert ring.view(second, (100,)).sum() == 0
    assert not ring.has_free_slot
    ring.give_back_later(first)
    assert not ring.has_free_slot
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 60)
    assert ring.has_free_slot
    assert ring.take() == first
    ring.close()


def test_what_holds_the_memory_has_all_of_it_until_the_last_block_is_back(slide):
    events = []

    @contextlib.contextmanager
    def hold(memory):
        events.append(len(memory))
        memory[-1] = 7
        yield
        events.append("let go")

    stream = stream_blocks([request(slide)], workers=1, ahead=2, timeout_s=60, memory_holder=hold)
    for _, outcome, _ in stream:
        assert events == [4 * SLOT_BYTES]
        outcome.value.release()
    assert events == [4 * SLOT_BYTES, "let go"]
    stream = stream_blocks([request(slide)], workers=1, ahead=2, timeout_s=60, memory_holder=hold)
    next(stream)
    stream.close()
    assert events[2:] == [4 * SLOT_BYTES, "let go"]


@pytest.fixture(scope="module")
def runtime():
    return bind(tiny_encoder(), device="cpu", batch=8, tile_px=32, threads=1)


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from features.device.binding import bind
from features.embedding.loop import embed_slides
from features.store.feature_log import FeatureLog
from tests.helpers.embedding_jobs import READING, job, tiny_encoder
original = FeatureLog.append
def append(self, record):
    original(self, record)
    print("logged", flush=True)
    time.sleep(600)
FeatureLog.append = append
if __name__ == "__main__":
    runtime = bind(tiny_encoder(), device="cpu", batch=8, tile_px=32, threads=1)
    list(embed_slides([job(Path(sys.argv[1]), Path(sys.argv[2]), runtime)], READING))
"""


@pytest.mark.slow
def test_a_slide_killed_in_its_middle_goes_on_behind_its_log_and_ends_with_the_same_bytes(
    slide, tmp_path, runtime, monkeypatch
):
    ((_, status),) = embed_slides([job(tmp_path / "whole", slide, runtime)], READING)
    assert status.figures == {"n_tiles": 300, "n_unreadable": 0, "reading": "raw"}
    whole = (tmp_path / "whole" / "e.h5").read_bytes()
    (tmp_path / "killed.py").write_text(KILLED)
    root = str(Path(__file__).resolve().parents[3])
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "killed.py"), str(tmp_path / "cut"), str(slide), root],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "logged\n"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [".e.h5.log"]

    original, embedded = FeatureLog.append, []

    def append(self, record):
        original(self, record)
        embedded.append(len(record.rows))

    monkeypatch.setattr(FeatureLog, "append", append)
    list(embed_slides([job(tmp_path / "cut", slide, runtime)], READING))
    assert 0 < sum(embedded) < 300  # what the killed run had logged was not embedded again
    assert (tmp_path / "cut" / "e.h5").read_bytes() == whole
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["e.h5"]


@pytest.mark.slow
def test_a_slide_that_was_replaced_while_it_was_read_leaves_nothing_to_go_on_with(slide, tmp_path, runtime):
    def check():
        raise SlideError("s.tif was replaced or changed while it was read", "run again")

    own = job(tmp_path / "out", slide, runtime, n=30)
    own.check_source = check
    ((_, status),) = embed_slides([own], READING)
    assert status.state == "failed" and "was replaced" in status.reason
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_several_encoders_share_one_pass_and_scales_stand_side_by_side(slide, tmp_path, runtime):
    both = job(tmp_path / "both", slide, runtime, names=("e", "f"), n=30)
    assert [name for name, _ in embed_slides([both], READING)] == ["e", "f"]
    assert (tmp_path / "both" / "e.h5").read_bytes() == (tmp_path / "both" / "f.h5").read_bytes()
    varied_too = job(tmp_path / "hed", slide, runtime, n=30, stains=REFERENCE)
    varied_too.bags[0].datasets = {"features": ("",), "features_hed1": ("+1",)}
    varied_too.bags[0].copy_strength = 0.2
    list(embed_slides([varied_too], READING))
    arrays = read_arrays(tmp_path / "hed" / "e.h5").arrays
    assert np.array_equal(arrays["features"], read_feature_bag(tmp_path / "both" / "e.h5").features)
    assert not np.array_equal(arrays["features_hed1"], arrays["features"])
    scaled = job(tmp_path / "scales", slide, runtime, n=30)
    own = scaled.requests[0]
    scaled.requests = [
        dataclasses.replace(own, part="a"), dataclasses.replace(own, part="b", tile_um=64.0, coords=own.coords + 32)
    ]  # fmt: skip
    scaled.bags[0].datasets = {"features": ("a", "b")}
    list(embed_slides([scaled], READING))
    features = read_feature_bag(tmp_path / "scales" / "e.h5").features
    assert features.shape == (30, 8)
    assert np.array_equal(features[:, :4], read_feature_bag(tmp_path / "both" / "e.h5").features)
    assert not np.array_equal(features[:, 4:], features[:, :4])


@pytest.mark.slow
def test_a_crash_in_the_middle_of_a_slide_leaves_no_memory_and_no_process(slide, tmp_path):
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2])\n"
        "from tests.helpers.embedding_jobs import request\nfrom features.stream.tile_stream import stream_blocks\n"
        "from pathlib import Path\n"
        "if __name__ == '__main__':\n"
        "    for _, outcome, _ in stream_blocks([request(Path(sys.argv[1]))], workers=2, ahead=3, timeout_s=60):\n"
        "        print('reading', flush=True); time.sleep(600)\n"
    )
    (tmp_path / "reader.py").write_text(code)
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "reader.py"), str(slide), str(root)], stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "reading\n"
    named = shared_memory_of(processes_of_group(process.pid))
    os.kill(process.pid, signal.SIGKILL)  # the parent alone; its workers end by themselves
    process.wait()
    process.stdout.close()
    for _ in range(300):
        if not processes_of_group(process.pid):
            break
        time.sleep(0.1)
    assert not processes_of_group(process.pid)
    assert not [path for path in named if path.exists()]


def shared_memory_of(processes):
    """Named shared memory that these processes have mapped; tests beside this one have theirs."""
    named = set()
    for pid in processes:
        with contextlib.suppress(OSError):  # it ended, or the system has no /proc
            named |= set(re.findall(r"/dev/shm/(?!sem\.)\S+", Path(f"/proc/{pid}/maps").read_text()))
    return {Path(name) for name in named}


def processes_of_group(group):
    import psutil

    found = []
    for own in psutil.process_iter():
        try:
            if os.getpgid(own.pid) == group and own.status() != psutil.STATUS_ZOMBIE:
                found.append(own.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_precisions_of_a_gpu_are_refused_on_a_cpu():
    with pytest.raises(StudyError, match="--precision float16 needs a GPU"):
        bind(tiny_encoder(), device="cpu", batch=2, tile_px=32, threads=1, precision="float16")


@pytest.mark.slow
def test_bfloat16_is_another_precision_and_says_so():
    tiles = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
    whole = bind(tiny_encoder(), device="cpu", batch=2, tile_px=32, threads=1)
    half = bind(tiny_encoder(), device="cpu", batch=2, tile_px=32, threads=1, precision="bfloat16")
    assert (whole.precision, half.precision) == ("float32", "bfloat16")
    a, b = (np.concatenate([part.result() for part in own.submit(tiles)]) for own in (whole, half))
    assert np.abs(a - b).max() < 0.05 * np.abs(a).max()


def test_the_stream_ends_when_there_is_nothing_to_read():
    assert list(stream_blocks([], workers=1, ahead=2, timeout_s=5)) == []
