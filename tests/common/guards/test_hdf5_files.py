"""Files of arrays that name other files, or claim what they do not hold, are refused before a value is read."""

import hashlib
import json
import os
import time

import h5py
import numpy as np
import pytest

from common.arrays import (
    array_shapes,
    read_arrays,
    read_attributes,
    read_if_made_of,
    stale_reason,
    verified_attributes,
    write_arrays,
)
from common.guards import sealed_files
from common.guards.hdf5_contents import check_arrays
from common.guards.hdf5_files import reading_hdf5
from common.guards.sealed_files import LENGTH, check_seal, seal
from features.exchange.bag import Source
from features.exchange.layout_readers import read_exchange_bag
from features.store.feature_store import read_feature_bag
from preprocessing.tiling.tile_store import read_slide_tiles

SECRET = np.arange(24, dtype=np.float32).reshape(6, 4)


def external_link(file, outside):
    with h5py.File(outside, "w") as other:
        other["features"] = SECRET
    file["features"] = h5py.ExternalLink(outside.name, "features")


def external_link_in_a_group(file, outside):
    external_link(file.create_group("deep"), outside)
    file["features"] = SECRET


def external_storage(file, outside):
    outside.write_bytes(SECRET.tobytes())
    file.create_dataset("features", SECRET.shape, "f4", external=[(str(outside), 0, SECRET.nbytes)])


def soft_link(file, outside):
    file["own"] = SECRET
    file["features"] = h5py.SoftLink("/own")


def soft_link_to_a_link(file, outside):
    external_link(file.create_group("deep"), outside)
    file["features"] = h5py.SoftLink("/deep/features")


def virtual(file, outside):
    with h5py.File(outside, "w") as other:
        other["features"] = SECRET
    layout = h5py.VirtualLayout(SECRET.shape, "f4")
    layout[:] = h5py.VirtualSource(str(outside), "features", SECRET.shape)
    file.create_virtual_dataset("features", layout)


def never_written(file, outside):
    file.create_dataset("features", (5_000_000, 5120), "f4", chunks=(1024, 1024))


def never_written_in_one_piece(file, outside):
    file.create_dataset("features", (5_000_000, 5120), "f4")


def packed_and_never_written(file, outside):
    array = file.create_dataset("features", (5_000_000, 5120), "f4", chunks=(64, 64), compression="gzip")
    array[0] = 1


def a_chunk_larger_than_all(file, outside):
    array = file.create_dataset(
        "features", (1, 4), "f4", chunks=(60_000_000, 8), maxshape=(None, None), compression="gzip"
    )
    array.id.write_direct_chunk((0, 0), b"x" * 100)


MADE = (
    external_link, external_link_in_a_group, external_storage, soft_link, soft_link_to_a_link, virtual, never_written,
    never_written_in_one_piece, packed_and_never_written, a_chunk_larger_than_all,
)  # fmt: skip


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
@pytest.mark.parametrize("schema", ["", "features/1"])
def test_s6_a_file_that_reaches_out_or_claims_too_much_is_refused_by_name(tmp_path, make, schema):
    path = tmp_path / "S.h5"
    with h5py.File(path, "w") as file:
        if schema:
            file.attrs["schema"] = schema
        file["coords"] = np.zeros((6, 2), np.int64)
        make(file, tmp_path / "outside")
    start = time.process_time()
    readers = (
        read_arrays, read_attributes, array_shapes, verified_attributes,
        lambda own: read_exchange_bag(Source(path=own, slide_id="S")),
        lambda own: read_exchange_bag(Source(path=own, slide_id="S", is_header=True)),
    )  # fmt: skip
    for read in readers:
        with pytest.raises(ValueError, match=r"S\.h5: .*(link|file|holds)"):
            read(path)
    assert "S.h5" in str(stale_reason(path, {}))
    assert time.process_time() - start < 5


def test_s6_clams_coordinate_file_is_looked_over_too(tmp_path):
    for name in ("S.h5", "coords.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["features"] = SECRET
            file["coords"] = np.zeros((6, 2), np.int64)
    with h5py.File(tmp_path / "coords.h5", "a") as file:
        external_storage(file.create_group("deep"), tmp_path / "outside")
    with pytest.raises(ValueError, match=r"coords\.h5: /deep/features has its values in another file"):
        read_exchange_bag(Source(path=tmp_path / "S.h5", slide_id="S"), coordinate_file=tmp_path / "coords.h5")


def test_s6_honest_files_are_read(tmp_path):
    path = tmp_path / "S.h5"
    write_arrays(path, {"features": SECRET, "none": np.empty((0, 4)), "one": np.array(1.5)}, {"schema": "x"})
    assert np.array_equal(read_arrays(path).arrays["features"], SECRET)
    with h5py.File(path, "w") as file:
        file.create_dataset("packed", data=np.zeros((4000, 1000)), compression="gzip", compression_opts=9)
        file.create_dataset("resizable", data=SECRET, maxshape=(None, 4))
        file.create_dataset("texts", data=np.array([b"a", b"bc"], dtype=h5py.string_dtype()))
        file.create_dataset("nothing", data=h5py.Empty("f4"))
        file["again"] = file["packed"]
        file.create_group("round")["back"] = file["/"]  # a circle
    with reading_hdf5(path) as file:
        assert file["packed"].shape == (4000, 1000)


@pytest.mark.parametrize("name", ["S.index.npz", "S.index.npy"])
def test_s6_an_index_and_a_tensor_that_claim_too_much_are_refused(tmp_path, name):
    import torch

    torch.save(torch.zeros(6, 4), tmp_path / "S.pt")
    save = np.savez if name.endswith("z") else np.save
    save(tmp_path / name, np.zeros((6, 2), np.int64))
    assert read_exchange_bag(Source(path=tmp_path / "S.pt", slide_id="S")).n_tiles == 6
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content.replace(b"(6, 2), }         ", b"(6200000000, 2), }"))
    with pytest.raises(ValueError, match="index of tile centres"):
        read_exchange_bag(Source(path=tmp_path / "S.pt", slide_id="S"))
    (tmp_path / name).unlink()
    torch.save(torch.zeros(1, 4).expand(10**9, 4), tmp_path / "S.pt")
    with pytest.raises(ValueError, match=r"claims 16,000,000,000 bytes in a file of"):
        read_exchange_bag(Source(path=tmp_path / "S.pt", slide_id="S"))


def name_that_is_no_text(file):
    file["coords"], file["features"] = np.zeros((6, 2), np.int64), SECRET
    h5py.h5d.create(file.id, b"\xff\x9a", h5py.h5t.IEEE_F32LE, h5py.h5s.create(h5py.h5s.SCALAR))


def types_in_the_place_of_arrays(file):
    file["coords"], file["features"] = np.dtype("f8"), np.dtype("f4")


def coords_alone_are_a_type(file):
    file["coords"], file["features"] = np.dtype("f8"), SECRET


def stamps_coords_are_a_type(file):
    file["coords"], file["feats"] = np.dtype("f8"), SECRET


def groups_in_the_place_of_arrays(file):
    file.create_group("coords"), file.create_group("features"), file.create_group("feats")


def numbers_of_a_kind_that_numpy_has_not(file):
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(0x7FFF)
    for name in (b"coords", b"features"):
        array = h5py.h5d.create(file.id, name, kind, h5py.h5s.create_simple((6, 2)))
        array.write(h5py.h5s.ALL, h5py.h5s.ALL, np.zeros((6, 2), np.float32), mtype=h5py.h5t.IEEE_F32LE)


def attributes_of_a_kind_that_numpy_has_not(file):
    file["coords"], file["features"] = np.zeros((6, 2), np.int64), SECRET
    for member in (file, file["coords"], file["features"]):
        for name in (b"patch_size_level0", b"patch_size", b"tile_um", b"encoder", b"patch_level"):
            h5py.h5a.create(member.id, name, h5py.h5t.UNIX_D32LE, h5py.h5s.create(h5py.h5s.SCALAR))


def texts_that_are_none(file):
    attributes_of(file, np.bytes_(b"\xff\xfe\x9a"))


def lists_in_the_place_of_numbers(file):
    attributes_of(file, [1.5, 2.5, 3.5])


def texts_in_the_place_of_numbers(file):
    attributes_of(file, "wide")


def nothing_in_the_place_of_numbers(file):
    attributes_of(file, h5py.Empty("f4"))


def nan_in_the_place_of_numbers(file):
    attributes_of(file, float("nan"))


def attributes_of(file, value):
    file["coords"], file["features"] = np.zeros((6, 2), np.int64), SECRET
    for member in (file, file["coords"], file["features"]):
        names = ("patch_size_level0", "patch_size", "tile_um", "tile_px", "mpp_x", "mpp_y", "encoder", "patch_level", "slide_id",
                 "content_sha256", "downsample", "tile_size_um", "tile_size_px", "tile_size", "unit", "settings")  # fmt: skip
        for name in names:
            member.attrs[name] = value


ODD = (
    name_that_is_no_text, types_in_the_place_of_arrays, coords_alone_are_a_type, stamps_coords_are_a_type,
    groups_in_the_place_of_arrays, numbers_of_a_kind_that_numpy_has_not, attributes_of_a_kind_that_numpy_has_not,
    texts_that_are_none, lists_in_the_place_of_numbers, texts_in_the_place_of_numbers, nothing_in_the_place_of_numbers,
    nan_in_the_place_of_numbers,
)  # fmt: skip


@pytest.mark.parametrize("make", ODD, ids=lambda make: make.__name__)
@pytest.mark.parametrize("schema", ["", "features/1", "tiles/3", "stamp"])
@pytest.mark.parametrize("is_sealed", [False, True])
def test_s6_whatever_is_of_another_kind_than_it_can_be_is_a_fault_with_the_files_name(
    tmp_path, make, schema, is_sealed
):
    path, beside = tmp_path / "S.h5", tmp_path / "clam.h5"
    with h5py.File(path, "w") as file:
        make(file)
        if schema == "stamp" and "feats" not in file:
            file["feats"] = SECRET
        elif schema:
            file.attrs["schema"] = schema
        if is_sealed:
            file.attrs["file_sha256"] = "at the end of the file"
    with h5py.File(beside, "w") as file:
        file["features"], file["coords"] = SECRET, np.zeros((6, 2), np.int64)
    if is_sealed:
        seal(path)
    readers = (
        read_arrays, read_attributes, array_shapes, verified_attributes, read_feature_bag, read_slide_tiles,
        lambda own: read_if_made_of(own, {"schema": "x", "settings": "y", "tile_um": 1.0}),
        lambda own: read_exchange_bag(Source(path=own, slide_id="S", mpp=(0.5, 0.5))).provenance,
        lambda own: read_exchange_bag(Source(path=own, slide_id="S", is_header=True)).provenance,
        lambda own: read_exchange_bag(Source(path=beside, slide_id="clam"), coordinate_file=own),
    )  # fmt: skip
    for read in readers:
        try:
            read(path)
        except ValueError as error:
            assert "S.h5: " in str(error), error  # some read what others refuse
    assert stale_reason(path, {"schema": "x", "tile_um": 1.0})


@pytest.mark.parametrize("name", ["patch_size_level0", "patch_size"])
@pytest.mark.parametrize("value", ["wide", [1, 2], float("nan"), 0, -4, 1e300])
def test_s6_a_side_that_is_no_number_of_pixels_is_named(tmp_path, name, value):
    path = tmp_path / "S.h5"
    with h5py.File(path, "w") as file:
        file["coords"], file["features"] = np.zeros((6, 2), np.int64), SECRET
        file["coords"].attrs.update({"patch_size_level0": 512, "patch_size": np.array([256])} | {name: value})
    with pytest.raises(ValueError, match=rf"S\.h5: {name} of coords is .*; wanted"):
        read_exchange_bag(Source(path=path, slide_id="S"))


@pytest.mark.parametrize("fault", ["method", "encrypted", "header", "version"])
def test_s6_a_zip_that_python_cannot_unpack_is_no_index_of_tile_centres(tmp_path, fault):
    import torch

    torch.save(torch.zeros(6, 4), tmp_path / "S.pt")
    index = tmp_path / "S.index.npz"
    np.savez(index, arr_0=np.zeros((6, 2), np.int64))
    content = bytearray(index.read_bytes())
    directory = content.index(b"PK\x01\x02")
    for start, shift in ((0, 0), (directory, 2)):
        if fault == "method":
            content[start + 8 + shift : start + 10 + shift] = (99).to_bytes(2, "little")
        elif fault == "encrypted":
            content[start + 6 + shift] |= 1
        elif fault == "version":
            content[start + 4 + shift : start + 6 + shift] = (255).to_bytes(2, "little")
        elif start == 0:
            content[:4] = b"PK\x00\x00"
    index.write_bytes(content)
    with pytest.raises(ValueError, match=r"S\.index\.npz: not a readable index of tile centres"):
        read_exchange_bag(Source(path=tmp_path / "S.pt", slide_id="S", mpp=(0.5, 0.5)))


CONFIGS = (
    {"extractor": "resnet"}, {"extractor": ["x"]}, {"extractor": {"class": ["x"]}}, {"tile_px": [1]}, {"tile_px": "wide"},
    {"tile_px": -3}, {"normalizer": "macenko"}, {"normalizer": {}}, {"normalizer": [1]}, {"tile_um": [1]}, {"tile_um": True},
)  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_s6_a_record_of_slideflow_whose_values_are_of_another_kind_is_refused_by_name_or_read(tmp_path, config):
    import torch

    torch.save(torch.zeros(6, 4), tmp_path / "S.pt")
    (tmp_path / "bags_config.json").write_text(json.dumps({"tile_um": 128, "tile_px": 256} | config))
    try:
        read_exchange_bag(Source(path=tmp_path / "S.pt", slide_id="S", mpp=(0.5, 0.5)))
    except ValueError as error:
        assert "bags_config.json: " in str(error), error


@pytest.mark.parametrize(("n_objects", "is_refused"), [(4, False), (5, True)])
def test_more_groups_and_arrays_than_any_file_of_ours_has_are_refused(tmp_path, monkeypatch, n_objects, is_refused):
    monkeypatch.setattr("common.guards.hdf5_contents.MAX_OBJECTS", 4)
    with h5py.File(tmp_path / "S.h5", "w") as file:  # the file's own group is one
        for number in range(n_objects - 1):
            file[f"a{number}"] = 1.0
        file["again"] = file["a0"]
    if not is_refused:
        assert len(_walked(tmp_path / "S.h5")) == 4
        return
    with pytest.raises(ValueError, match=r"S\.h5: it holds more than 4 groups and arrays"):
        _walked(tmp_path / "S.h5")


def _walked(path):
    with h5py.File(path, "r") as file:
        return [place for place, _ in check_arrays(path, file)]


def test_every_group_and_array_is_walked_through_once_with_its_place(tmp_path):
    with h5py.File(tmp_path / "S.h5", "w") as file:
        file["a"], file["deep/b"], file["deep/deeper/c"], file["kind"] = 1, [2, 3], 4, np.dtype("f8")
        file["again"], file["deep/up"] = file["a"], file["/"]
    assert sorted(_walked(tmp_path / "S.h5")) == ["", "a", "deep", "deep/b", "deep/deeper", "deep/deeper/c", "kind"]


def test_a_chunk_may_be_larger_than_what_it_holds_but_not_by_64_mebibytes(tmp_path, monkeypatch):
    """Two rows in a chunk of many: 8,000 bytes a row."""
    path = tmp_path / "S.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.ones((1, 1000)), chunks=(100, 1000), maxshape=(None, 1000))
    assert _walked(path) == ["", "a"]
    with h5py.File(path, "w") as file:
        array = file.create_dataset("a", (1, 1000), "f4", chunks=(100, 1000), maxshape=(None, 1000), compression="gzip")
        array[0] = 1
    with h5py.File(path, "r") as file:
        held = 1100 * file["a"].id.get_storage_size()
    for slack, is_refused in ((400_000 - held, False), (400_000 - held - 1, True)):  # a chunk of 4-byte numbers
        monkeypatch.setattr("common.guards.hdf5_contents.SLACK_BYTES", slack)
        if is_refused:
            with pytest.raises(ValueError, match=r"/a claims 400,000 bytes and holds"):
                _walked(path)
        else:
            assert _walked(path) == ["", "a"]


def test_a_lost_checksum_is_damage(tmp_path):
    path = tmp_path / "S.h5"
    write_arrays(path, {"features": SECRET}, {"schema": "x"})
    with reading_hdf5(path) as file:
        assert "file_sha256" in file.attrs
    path.write_bytes(path.read_bytes()[:-LENGTH])
    with pytest.raises(ValueError, match=r"S\.h5: the checksum at its end is lost"), reading_hdf5(path):
        pass


def test_a_seal_is_looked_at_again_where_the_file_changed(tmp_path, monkeypatch):
    path = tmp_path / "S.bin"
    path.write_bytes(b"x" * 100)
    assert not check_seal(path)
    seal(path)
    content = path.read_bytes()
    assert len(content) == 100 + LENGTH
    assert hashlib.sha256(b"x" * 100).hexdigest().encode() in content
    read = []
    digest = sealed_files._digest
    monkeypatch.setattr(sealed_files, "_digest", lambda *own: read.append(own) or digest(*own))
    monkeypatch.setattr(sealed_files.time, "time", lambda: 1000.0)
    for age, n_read in ((0.0, 1), (2.0, 2), (3.0, 3), (3.0, 3)):
        os.utime(path, (1000.0 - age, 1000.0 - age))
        assert check_seal(path)
        assert len(read) == n_read
    path.write_bytes(b"y" + content[1:])
    with pytest.raises(ValueError, match=r"S\.bin: its content is not what was written"):
        check_seal(path)
    path.write_bytes(content[-LENGTH:])  # all of an empty file
    with pytest.raises(ValueError, match="checksum differs"):
        check_seal(path)
    (tmp_path / "empty").write_bytes(b"")
    seal(tmp_path / "empty")
    assert check_seal(tmp_path / "empty")
    path.write_bytes(content[1 - LENGTH :])
    assert not check_seal(path)


def test_a_seal_is_of_all_bytes_of_a_large_file_too(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed_files, "READ_BYTES", 7)
    path = tmp_path / "S.bin"
    path.write_bytes(bytes(range(50)))
    seal(path)
    assert path.read_bytes()[-65:-1] == hashlib.sha256(bytes(range(50))).hexdigest().encode()
    assert check_seal(path)
    content = bytearray(path.read_bytes())
    for at in (0, 6, 7, 49):
        damaged = bytearray(content)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="checksum differs"):
            check_seal(path)


def test_faults_of_the_callers_block_keep_their_words_where_they_name_the_file(tmp_path):
    path = tmp_path / "S.h5"
    with h5py.File(path, "w") as file:
        file["features"] = SECRET
    with pytest.raises(ValueError, match=f"^{path}: mine"), reading_hdf5(path):
        raise ValueError(f"{path}: mine")
    for error in (ValueError("odd"), TypeError(f"{path}: odd"), OverflowError("odd"), IndexError("odd")):
        with pytest.raises(OSError, match=r"what is in it is not of the kind it should be: .*odd"), reading_hdf5(path):
            raise error
