"""Files appear whole or not at all, and an array file proves that it is complete."""

import hashlib
import json

import h5py
import numpy as np
import pytest

from common.arrays import array_shapes, read_arrays, read_attributes, stale_reason, verified_attributes, write_arrays
from common.files import content_sha256, replacing, write_json, write_table, write_text
from common.slide_files import file_fingerprint


def test_a_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_partial_file_of_a_killed_process_is_replaced(tmp_path):
    (tmp_path / ".a.txt.partial").write_text("left behind")
    write_text(tmp_path / "a.txt", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_tables_and_json_read_back_exactly(tmp_path):
    write_table(tmp_path / "t.csv", ["a", "b"], [[0.1 + 0.2, "x,y"]])
    assert (tmp_path / "t.csv").read_bytes() == b'a,b\n0.30000000000000004,"x,y"\n'
    write_json(tmp_path / "j.json", {"µm": 0.1})
    assert json.loads((tmp_path / "j.json").read_text()) == {"µm": 0.1}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "j.json", float("nan"))


def test_arrays_read_back_and_two_writes_are_the_same_bytes(tmp_path):
    arrays = {"features": np.arange(12, dtype=np.float16).reshape(4, 3), "coords": np.arange(8).reshape(4, 2)}
    for name in ("one.h5", "two.h5"):
        write_arrays(
            tmp_path / name, arrays, {"mpp": 0.25, "name": "µ"}, array_attributes={"coords": {"patch_size": 256}}
        )
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()
    found = read_arrays(tmp_path / "one.h5")
    assert found.attributes["mpp"] == 0.25
    assert found.attributes["name"] == "µ"
    assert np.array_equal(found.arrays["features"], arrays["features"])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_truncated_array_file_is_noticed(tmp_path, share):
    path = tmp_path / "a.h5"
    write_arrays(path, {"features": np.zeros((500, 64))}, {"key": "value"})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match="delete it and rerun"):
        read_arrays(path)
    assert "not a complete HDF5 file" in stale_reason(path, {})


def test_a_changed_value_inside_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    write_arrays(path, {"features": np.zeros((5, 2))}, {})
    with h5py.File(path, "r+") as file:
        file["features"][3, 1] = 1
    with pytest.raises(ValueError, match="checksum"):
        read_arrays(path)


def test_staleness_names_the_changed_setting(tmp_path):
    path = tmp_path / "a.h5"
    assert stale_reason(path, {}) == "not made yet"
    write_arrays(path, {"x": np.zeros(1)}, {"tile_um": 256.0})
    assert stale_reason(path, {"tile_um": 256.0}) is None
    assert stale_reason(path, {"tile_um": 128.0}) == "tile_um changed from 256.0 to 128.0"


def test_fingerprints_follow_content_not_name_or_date(tmp_path):
    content = np.random.default_rng(0).bytes(5 << 20)
    (tmp_path / "a").write_bytes(content)
    (tmp_path / "b").write_bytes(content)
    assert file_fingerprint(tmp_path / "a") == file_fingerprint(tmp_path / "b")
    (tmp_path / "b").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert file_fingerprint(tmp_path / "a") != file_fingerprint(tmp_path / "b")


def test_a_slide_of_several_files_is_identified_by_all_but_hidden_ones(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "Data0000.dat").write_bytes(b"pixels")
    (tmp_path / "m.mrxs").write_bytes(b"index")
    (tmp_path / "v.vms").write_text("[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=part.jpg\nMapFile=..\nX=/a\n")
    (tmp_path / "part.jpg").write_bytes(b"pixels")
    before = [file_fingerprint(tmp_path / name) for name in ("m.mrxs", "v.vms", "m")]
    (tmp_path / "m" / ".DS_Store").write_bytes(b"of a file browser")
    assert [file_fingerprint(tmp_path / name) for name in ("m.mrxs", "v.vms", "m")] == before
    (tmp_path / "m" / "Data0000.dat").write_bytes(b"PIXELS")
    (tmp_path / "part.jpg").write_bytes(b"PIXELS")
    after = [file_fingerprint(tmp_path / name) for name in ("m.mrxs", "v.vms", "m")]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_content_is_every_byte(tmp_path):
    content = bytearray(8 << 20)
    (tmp_path / "a").write_bytes(content)
    before = content_sha256(tmp_path / "a"), file_fingerprint(tmp_path / "a")
    content[2 << 20] = 1  # between the samples of the fingerprint
    (tmp_path / "a").write_bytes(content)
    assert file_fingerprint(tmp_path / "a") == before[1]
    assert content_sha256(tmp_path / "a") != before[0] == hashlib.sha256(bytes(8 << 20)).hexdigest()


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "a.h5"
    write_arrays(path, {"x": np.arange(400.0)}, {"mpp_x": 0.25, "encoder": "e", "licence": "none"})
    return path


@pytest.mark.parametrize("name", ["mpp_x", "encoder", "licence"])
@pytest.mark.parametrize("read", [read_arrays, read_attributes, array_shapes, verified_attributes])
def test_d3_a_changed_attribute_is_noticed(sealed, name, read):
    with h5py.File(sealed, "r+") as file:
        file.attrs[name] = type(file.attrs[name])("0.5") if name == "mpp_x" else "other"
    with pytest.raises(ValueError, match="checksum"):
        read(sealed)


@pytest.mark.parametrize("read", [read_arrays, read_attributes, array_shapes, verified_attributes])
def test_d3_one_flipped_bit_anywhere_is_noticed(sealed, read):
    whole, rng = sealed.read_bytes(), np.random.default_rng(0)
    for at in rng.integers(len(whole), size=200):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(rng.integers(8))
        sealed.write_bytes(bytes(damaged))
        with pytest.raises(ValueError, match="checksum"):
            read(sealed)


def test_d2_hdf5_never_sees_a_file_with_damage_in_its_structure(sealed, monkeypatch):
    whole = sealed.read_bytes()
    monkeypatch.setattr(h5py, "File", None)  # it may loop for ever
    for start in range(0, len(whole) - 64, 64):
        sealed.write_bytes(whole[:start] + bytes(64) + whole[start + 64 :])
        if sealed.read_bytes() != whole and not start > len(whole) - 200:
            with pytest.raises(ValueError, match="checksum"):
                stale = stale_reason(sealed, {})
                raise ValueError(stale)


def test_d3_a_file_of_an_earlier_version_is_recognised_by_its_arrays(tmp_path):
    path = tmp_path / "a.h5"
    write_arrays(path, {"x": np.arange(3)}, {"mpp_x": 0.25})
    with h5py.File(path, "r+") as file:
        del file.attrs["file_sha256"]  # as it was written before
    assert stale_reason(path, {"mpp_x": 0.25}) is None
    assert read_arrays(path).arrays["x"].tolist() == [0, 1, 2]
    with h5py.File(path, "r+") as file:
        file["x"][0] = 7
    with pytest.raises(ValueError, match="checksum"):
        read_arrays(path)
