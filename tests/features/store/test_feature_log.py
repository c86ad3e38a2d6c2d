"""A log of embeddings survives a kill at any byte, and a log made otherwise is discarded."""

import os
from dataclasses import replace

import h5py
import numpy as np
import pytest

from common.arrays import write_arrays
from features.store.feature_log import FeatureLog, LogRecord
from features.store.feature_store import FeatureBag, read_feature_bag, write_feature_bag, write_logged_bag

HEADER = {"encoder": "x", "tile_um": 256.0}


def record(rows, part="", unreadable=(), dim=3, seed=0):
    values = np.random.default_rng(seed).normal(size=(len(rows), dim)).astype(np.float16)
    return LogRecord(part, np.array(rows, np.int64), np.array(unreadable, np.int64), values, "raw")


def test_records_are_found_again(tmp_path):
    log = FeatureLog(tmp_path / "s.h5", HEADER)
    log.append(record([0, 5]))
    log.append(record([2], unreadable=[1, 3]))
    log.close()
    again = FeatureLog(tmp_path / "s.h5", HEADER)
    assert again.is_done("", 7).tolist() == [True, True, True, True, False, True, False]
    assert again.n_kept == 5
    assert not again.is_done("other", 7).any()
    first, second = again.records()
    assert np.array_equal(first.features, record([0, 5]).features)
    assert (second.rows.tolist(), second.unreadable.tolist(), second.reading) == ([2], [1, 3], "raw")
    again.remove()
    assert not list(tmp_path.iterdir())


def test_a_log_cut_at_any_byte_keeps_its_whole_records_and_goes_on(tmp_path):
    log = FeatureLog(tmp_path / "s.h5", HEADER)
    ends = []
    for row in range(4):
        log.append(record([row], seed=row))
        ends.append(log.path.stat().st_size)
    log.close()
    whole = log.path.read_bytes()
    for cut in range(0, len(whole), 7):
        log.path.write_bytes(whole[:cut])
        again = FeatureLog(tmp_path / "s.h5", HEADER)
        n_whole = sum(end <= cut for end in ends)
        assert again.n_kept == n_whole
        again.append(record([9]))
        assert [list(r.rows) for r in again.records()] == [[row] for row in range(n_whole)] + [[9]]
        again.close()


def test_a_damaged_record_and_all_behind_it_are_made_again(tmp_path):
    log = FeatureLog(tmp_path / "s.h5", HEADER)
    for row in range(3):
        log.append(record([row]))
    log.close()
    content = bytearray(log.path.read_bytes())
    content[-len(content) // 3] ^= 1
    log.path.write_bytes(content)
    again = FeatureLog(tmp_path / "s.h5", HEADER)
    assert again.n_kept < 3
    again.close()


@pytest.mark.parametrize("changed", [{"tile_um": 128.0}, {"precision": "bfloat16"}])
def test_a_log_made_with_other_settings_is_discarded(tmp_path, changed):
    log = FeatureLog(tmp_path / "s.h5", HEADER)
    log.append(record([0]))
    log.close()
    other = FeatureLog(tmp_path / "s.h5", HEADER | changed)
    assert other.n_kept == 0
    other.close()
    back = FeatureLog(tmp_path / "s.h5", HEADER)
    assert back.n_kept == 0
    back.close()


def write(path, log, **changes):
    given = {
        "slide_id": "s", "coords": np.arange(12, dtype=np.int64).reshape(6, 2), "attributes": {"encoder": "x"},
        "image_index": np.empty(0, np.int64), "datasets": {"features": ("a", "b")},
    }  # fmt: skip
    write_logged_bag(path, log, **given | changes)


def test_parts_stand_side_by_side_in_the_order_of_tiles_without_unreadable_ones(tmp_path):
    log = FeatureLog(tmp_path / "s.h5", HEADER)
    log.append(record([5, 0, 3], "a", unreadable=[1]))
    log.append(record([4, 2], "a", seed=1))
    log.append(record([0, 1, 2, 3, 4, 5], "b", dim=2, seed=2))
    write(tmp_path / "s.h5", log)
    bag = read_feature_bag(tmp_path / "s.h5")
    a, a2, b = (r.features for r in log.records())
    expected = np.concatenate([np.stack([a[1], a2[1], a[2], a2[0], a[0]]), b[[0, 2, 3, 4, 5]]], axis=1)
    assert np.array_equal(bag.features, expected)
    assert bag.unreadable.tolist() == [1]
    assert bag.coords[:, 0].tolist() == [0, 4, 6, 8, 10]
    log.remove()


def test_the_file_does_not_depend_on_the_order_of_blocks(tmp_path):
    whole = record(list(range(6)), "a")
    contents = []
    for order in ([[0, 1, 2], [3, 4, 5]], [[5, 1], [4], [0, 3, 2]]):
        log = FeatureLog(tmp_path / "s.h5", HEADER)
        for rows in order:
            log.append(LogRecord("a", np.array(rows), np.empty(0, np.int64), whole.features[rows]))
        write(tmp_path / "s.h5", log, datasets={"features": ("a",)})
        log.remove()
        contents.append((tmp_path / "s.h5").read_bytes())
    assert contents[0] == contents[1]
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["features"].chunks is None  # contiguous: random rows are read four times faster


def test_a_slide_without_a_readable_tile_is_an_error(tmp_path):
    log = FeatureLog(tmp_path / "s.h5", HEADER)
    log.append(record([], "a", unreadable=range(6)))
    with pytest.raises(ValueError, match="no tile can be read"):
        write(tmp_path / "s.h5", log, datasets={"features": ("a",)})
    log.remove()


def test_a_record_without_rows_does_not_say_how_wide_embeddings_are(tmp_path):
    log = FeatureLog(tmp_path / "s.h5", HEADER)
    log.append(record([], unreadable=[4], dim=7))
    log.append(record([0, 1], dim=3))
    log.append(record([], unreadable=[2, 3], dim=7))
    assert log.dimensions == {"": 3}
    log.remove()


@pytest.mark.parametrize("kind", ["symlink", "hard link", "dangling"])
def test_s5_a_log_that_is_a_link_is_replaced_and_its_target_stays(tmp_path, kind):
    outside, target = tmp_path / "outside.txt", tmp_path / "features" / "S.h5"
    target.parent.mkdir()
    log = target.with_name(".S.h5.log")
    if kind != "dangling":
        outside.write_text("precious")
    if kind == "hard link":
        os.link(outside, log)
    else:
        log.symlink_to(outside)
    own = FeatureLog(target, {"a": 1})
    own.append(LogRecord("", np.arange(2), np.empty(0, np.int64), np.ones((2, 3), np.float16)))
    own.close()
    assert not log.is_symlink()
    assert outside.exists() == (kind != "dangling")
    assert kind == "dangling" or outside.read_text() == "precious"
    again = FeatureLog(target, {"a": 1})
    assert again.n_kept == 2
    again.remove()
    assert not log.exists()


@pytest.mark.parametrize("name", ["S.h5", ".S.h5.partial"])
def test_s5_a_file_or_its_partial_that_is_a_link_is_replaced(tmp_path, name):
    outside, folder = tmp_path / "outside.txt", tmp_path / "folder"
    outside.write_text("precious")
    folder.mkdir()
    (folder / name).symlink_to(outside)
    write_arrays(folder / "S.h5", {"a": np.ones(2)}, {})
    assert outside.read_text() == "precious"
    assert [path.name for path in folder.iterdir() if not path.is_symlink()] == ["S.h5"]


def test_what_stands_beside_corners_is_written_and_images_where_there_are_any(tmp_path):
    bag = FeatureBag(
        slide_id="s", features=np.ones((2, 3), np.float16), coords=np.zeros((2, 2), np.int64), unreadable=np.empty(0, np.int64),
        attributes={"encoder": "e"},
    )  # fmt: skip
    write_feature_bag(tmp_path / "a.h5", bag, coords_attributes={"patch_size": 5, "name": "s"})
    write_feature_bag(tmp_path / "b.h5", replace(bag, image_index=np.array([0, 1])))
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["coords"].attrs["patch_size"], file["coords"].attrs["name"]) == (5, "s")
        assert "image_index" not in file
    with h5py.File(tmp_path / "b.h5") as file:
        assert "patch_size" not in file["coords"].attrs
    assert read_feature_bag(tmp_path / "b.h5").image_index.tolist() == [0, 1]
    assert len(read_feature_bag(tmp_path / "a.h5").image_index) == 0
