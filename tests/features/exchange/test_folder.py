"""Features of CLAM, TRIDENT, STAMP and slideflow: read as their tools write them, written and read back exactly."""

import json
import math
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.arrays import write_arrays
from common.cohort import read_cohort
from common.failures import SlideError, StudyError
from features.convert_features import main as convert
from features.exchange.bag import (
    ExchangeBag,
    Source,
    centres_of_corners,
    coordinate_stride,
    corners_of_centres,
    corners_of_um,
    embedding_rows,
    slideflow_footprint,
    stamp_footprint,
    stated_size,
    um_of_corners,
)
from features.exchange.conversion import ConversionConfig, with_scale
from features.exchange.folder import (
    common_provenance,
    match_slides,
    open_folder,
    origin,
    scale_of_table,
    scale_of_tile_files,
)
from features.exchange.hdf5_readers import read_hdf5
from features.exchange.layout_readers import read_exchange_bag
from features.exchange.layout_writers import write_bags_config, write_layout
from features.exchange.record import find_record, is_finished, read_record, record_file, write_record
from features.exchange.tensor_readers import read_tensor
from features.store.feature_store import FeatureBag, read_feature_bag, write_feature_bag
from features.store.provenance import Provenance

LAYOUTS = ("clam", "trident", "stamp", "slideflow")
SCALE = 0.2431


def own_bag(slide_id, rng, *, n=9, dim=5, mpp=SCALE, tile_um=256.0):
    side = round(tile_um / mpp)
    corners = np.stack([rng.integers(0, 200, n), rng.integers(0, 300, n)], axis=1) * side
    attributes = {
        "encoder": "uni", "licence": "CC-BY-NC-ND-4.0", "weights_sha256": "ab", "transform": "t", "stain": "normalised",
        "stain_fit": "vahadane", "stain_reference": "{}", "tile_um": tile_um, "tile_px": 224, "mpp_x": mpp, "mpp_y": mpp * 1.01,
        "mpp_source": "file", "tile_fingerprint": "cd", "runtime": "r", "precision": "float32",
    }  # fmt: skip
    beside = {
        "patch_size": 224, "patch_size_level0": side, "level0_magnification": round(10 / mpp, 3), "overlap": 0,
        "target_magnification": round(10 * 224 / tile_um, 3), "name": slide_id, "savetodir": "", "level0_width": 99000,
        "level0_height": 88000,
    }  # fmt: skip
    features = rng.normal(size=(n, dim)).astype(np.float16)
    bag = FeatureBag(
        slide_id=slide_id,
        features=features,
        coords=corners.astype(np.int64),
        unreadable=np.array([3]),
        attributes=attributes,
    )
    return bag, beside


def write_own(folder, names=("s1", "s2"), **options):
    rng = np.random.default_rng(0)
    for name in names:
        bag, beside = own_bag(name, rng, **options)
        write_feature_bag(folder / f"{name}.h5", bag, coords_attributes=beside)
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def own_values(path):
    with h5py.File(path) as file:
        beside = dict(file["coords"].attrs)
    bag = read_feature_bag(path)
    return bag, beside


bags = st.fixed_dictionaries(
    {
        "n": st.integers(1, 40),
        "dim": st.integers(1, 20),
        "mpp": st.floats(0.1, 2.0),
        "tile_um": st.sampled_from([64.0, 112.0, 224.0, 256.0, 333.3]),
    }
)


@pytest.mark.parametrize("to", LAYOUTS)
@given(options=bags)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_there_and_back_is_exact(tmp_path, to, options):
    for name in ("own", "there", "back"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    source = write_own(tmp_path / "own", **options)
    assert convert(["--features", str(source), "--to", to, "--out", str(tmp_path / "there")]) == 0
    assert convert(["--features", str(tmp_path / "there"), "--to", "own", "--out", str(tmp_path / "back")]) == 0
    for name in ("s1", "s2"):
        before, beside_before = own_values(source / f"{name}.h5")
        after, beside_after = own_values(tmp_path / "back" / f"{name}.h5")
        assert np.array_equal(before.features, after.features)
        assert before.features.dtype == after.features.dtype == np.float16
        assert np.array_equal(before.coords, after.coords)
        assert before.attributes == after.attributes  # the checksum of the arrays among them
        assert beside_before == beside_after  # the footprint among them


@pytest.mark.parametrize("to", LAYOUTS)
def test_without_the_side_file_places_and_sides_stay_right(tmp_path, to):
    """As the tool itself, or a user who takes only its files, finds them."""
    source, there = write_own(tmp_path / "own"), tmp_path / "there"
    assert convert(["--features", str(source), "--to", to, "--out", str(there)]) == 0
    shutil.rmtree(there / "provenance")
    side = {"stamp": math.ceil(256 / SCALE), "slideflow": int(256 / SCALE)}.get(to, round(256 / SCALE))
    folder = open_folder(there, mpp_of={"s1": (SCALE, SCALE), "s2": (SCALE, SCALE)})
    for name in ("s1", "s2"):
        before, after = read_feature_bag(source / f"{name}.h5"), folder.read(name)
        assert np.array_equal(before.features.astype(np.float32), after.features.astype(np.float32))
        assert np.array_equal(before.coords, after.coords)
        assert (after.layout, after.coords_unit, after.footprint_level0) == (to, "level-0 px", side)
        assert after.attributes["licence"] == "unknown"
        assert after.attributes["weights_sha256"] == "unknown"


@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)), min_size=1, max_size=20),
    st.floats(0.05, 10),
    st.floats(20, 2000),
)
def test_places_survive_micrometres_and_centres(corners, mpp, tile_um):
    corners = np.array(corners, dtype=np.int64)
    um = um_of_corners(corners, mpp)
    assert um.dtype == np.float32
    assert np.array_equal(corners_of_um(um, mpp), corners)
    side = slideflow_footprint(tile_um, mpp)
    centres = centres_of_corners(corners, side)
    slow = [[int(x + side / 2), int(y + side / 2)] for x, y in corners.tolist()]  # as slideflow computes them
    assert centres.tolist() == slow
    assert np.array_equal(corners_of_centres(centres, side), corners)


def test_corners_beyond_float32_are_refused():
    with pytest.raises(ValueError, match="float32"):
        um_of_corners(np.array([[1 << 26, (1 << 26) + 1]]), 0.3)


def test_a_second_conversion_writes_nothing_and_a_killed_one_goes_on_to_the_same_bytes(tmp_path):
    source = write_own(tmp_path / "own")
    for to in LAYOUTS:
        out = tmp_path / to
        arguments = ["--features", str(source), "--to", to, "--out", str(out)]
        assert convert(arguments) == 0
        before = contents(out)
        stamps = {path: path.stat().st_mtime_ns for path in out.rglob("s1*")}
        assert convert(arguments) == 0
        assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("s1*")}
        (out / "provenance" / "s2.json").unlink()  # killed before the second slide was done
        broken = next(path for path in out.rglob("s1*") if path.suffix in (".h5", ".pt"))
        broken.write_bytes(broken.read_bytes()[:100])
        assert convert(arguments) == 0
        assert contents(out) == before


def test_a_damaged_source_is_one_row_and_leaves_no_old_file(tmp_path, capsys):
    source, out = write_own(tmp_path / "own"), tmp_path / "out"
    arguments = ["--features", str(source), "--to", "clam", "--out", str(out)]
    assert convert(arguments) == 0
    path = source / "s2.h5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert convert(arguments) == 1
    assert "s2: " in capsys.readouterr().out
    assert "truncated or damaged" in (out / "status.csv").read_text()
    assert sorted(own.name for own in out.rglob("s2*")) == []
    assert (out / "pt_files" / "s1.pt").is_file()


def test_a_file_changed_after_its_conversion_is_found_out(tmp_path):
    source, out = write_own(tmp_path / "own"), tmp_path / "out"
    assert convert(["--features", str(source), "--to", "slideflow", "--out", str(out)]) == 0
    torch.save(torch.zeros(9, 5), out / "s1.pt")
    with pytest.raises(ValueError, match="changed after its conversion"):
        open_folder(out).read("s1")


# --- files as the tools themselves write them


def peer_clam(folder, name="s1", n=6, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    features, coords = rng.normal(size=(n, dim)).astype(np.float32), rng.integers(0, 9000, (n, 2)).astype(np.int32)
    for sub in ("h5_files", "pt_files", "patches"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "h5_files" / f"{name}.h5", "w") as file:
        file.create_dataset("features", data=features, chunks=(1, dim), maxshape=(None, dim))
        file.create_dataset("coords", data=coords, chunks=(1, 2), maxshape=(None, 2))
    with h5py.File(folder / "patches" / f"{name}.h5", "w") as file:
        dataset = file.create_dataset("coords", data=coords.astype(np.int64))
        dataset.attrs.update({"patch_size": 256, "patch_level": 1, "downsample": np.array([4.0, 4.0]), "name": name})
    torch.save(torch.from_numpy(features), folder / "pt_files" / f"{name}.pt")
    return features, coords


def peer_trident(folder, name="s1", n=6, dim=4, *, encoder="uni_v1", size=256, batch_axis=False, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    features, coords = rng.normal(size=(n, dim)).astype(np.float32), rng.integers(0, 9000, (n, 2)).astype(np.int64)
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file["features"] = features[None] if batch_axis else features
        file["coords"] = coords[None] if batch_axis else coords
        file["features"].attrs.update({"name": name, "savetodir": "x", "encoder": encoder})
        file["coords"].attrs.update(
            {"patch_size": size, "patch_size_level0": 2 * size, "level0_magnification": 40, "target_magnification": 20,
             "overlap": 0, "name": name, "savetodir": "x", "level0_width": 9999, "level0_height": 9999}
        )  # fmt: skip
    return features, coords


def peer_stamp(path, n=6, dim=4, mpp=0.25, *, attributes=None, seed=0):
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    features, corners = rng.normal(size=(n, dim)).astype(np.float16), rng.integers(0, 90, (n, 2)) * 1024
    with h5py.File(path, "w") as file:
        file["coords"], file["feats"] = (corners * mpp).astype(np.float32), features
        known = {
            "stamp_version": "2.4.0", "extractor": "mahmood-uni", "unit": "um", "tile_size_um": 256.0, "tile_size_px": 224,
            "code_hash": "12345678", "feat_type": "tile",
        }  # fmt: skip
        file.attrs.update(known if attributes is None else attributes)
    return features, corners


def peer_slideflow(folder, name="s1", n=6, dim=4, mpp=0.3, seed=0):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    features, corners = rng.normal(size=(n, dim)).astype(np.float32), rng.integers(0, 90, (n, 2)) * 341
    side = int(256 / mpp)
    torch.save(torch.from_numpy(features), folder / f"{name}.pt")
    np.savez(folder / f"{name}.index.npz", arr_0=np.array([[int(x + side / 2), int(y + side / 2)] for x, y in corners]))
    config = {"extractor": {"class": "slideflow.model.extractors.ctranspath.CTransPathFeatures", "kwargs": {}},
              "normalizer": None, "num_features": dim, "tile_px": 224, "tile_um": 256}  # fmt: skip
    (folder / "bags_config.json").write_text(json.dumps(config))
    return features, corners


def test_clam_is_read_with_the_side_out_of_its_coordinate_files(tmp_path):
    features, coords = peer_clam(tmp_path)
    for folder in (tmp_path, tmp_path / "h5_files"):
        bag = open_folder(folder).read("s1")
        assert (bag.layout, bag.footprint_level0, bag.tile_px) == ("clam", 1024, 256)
        assert np.array_equal(bag.features, features)
        assert np.array_equal(bag.coords, coords)
    bag = open_folder(tmp_path / "pt_files").read("s1")
    assert (bag.layout, bag.coords_unit, bag.coords.shape) == ("clam", "unknown", (0, 2))
    assert np.array_equal(bag.features, features)


@pytest.mark.parametrize("batch_axis", [False, True])
def test_trident_is_read_from_its_job_or_feature_folder(tmp_path, batch_axis):
    folder = tmp_path / "20x_256px_0px_overlap" / "features_uni_v1"
    features, coords = peer_trident(folder, batch_axis=batch_axis)
    patches = folder.parent / "patches"
    patches.mkdir()
    shutil.copy(folder / "s1.h5", patches / "s1_patches.h5")
    for start in (tmp_path, folder):
        bag = open_folder(start, mpp_of={"s1": (0.25, 0.25)}).read("s1")
        assert (bag.layout, bag.footprint_level0, bag.tile_px, bag.tile_um) == ("trident", 512, 256, 128.0)
        assert (bag.attributes["encoder"], bag.attributes["tile_um"]) == ("uni_v1", "unknown")
        assert np.array_equal(bag.features, features)
        assert np.array_equal(bag.coords, coords)
    peer_trident(folder.parent / "features_conch_v15", encoder="conch_v15")
    with pytest.raises(StudyError, match=r"several encoders or sizes: .*features_conch_v15, .*features_uni_v1"):
        open_folder(tmp_path)


@pytest.mark.parametrize("absent", ["level0_magnification", "target_magnification"])
def test_v10_trident_without_a_magnification_gets_it_from_the_scale_or_says_that_it_is_unknown(tmp_path, absent):
    peer_trident(tmp_path / "in")
    with h5py.File(tmp_path / "in" / "s1.h5", "r+") as file:
        del file["coords"].attrs[absent]
    bag = open_folder(tmp_path / "in").read("s1")
    assert bag.attributes.get("target_magnification") == ("unknown" if absent.startswith("target") else 20)
    arguments = ["--features", str(tmp_path / "in"), "--to", "trident", "--out"]
    assert convert([*arguments, str(tmp_path / "without")]) == 1
    assert "TRIDENT's layout wants magnifications" in (tmp_path / "without" / "status.csv").read_text()
    assert convert([*arguments, str(tmp_path / "out"), "--mpp", "0.25"]) == 0
    (path,) = (tmp_path / "out").rglob("features_*/s1.h5")
    with h5py.File(path) as file:
        beside = file["coords"].attrs
        assert (beside["level0_magnification"], beside["target_magnification"]) == (40, 20)


def test_e7_a_slide_level_embedding_beside_the_places_of_tiles_is_called_one(tmp_path):
    rng = np.random.default_rng(0)
    for folder, features, coords in (("t", "features", "coords"), ("s", "feats", "coords")):
        (tmp_path / folder).mkdir()
        with h5py.File(tmp_path / folder / "s1.h5", "w") as file:
            file[features], file[coords] = rng.normal(size=(1, 768)).astype(np.float32), rng.integers(0, 9000, (7, 2))
            if folder == "t":
                file[coords].attrs.update({"patch_size": 256, "patch_size_level0": 512})
        bag = open_folder(tmp_path / folder).read("s1")
        assert (bag.layout, bag.n_tiles, bag.features.shape, len(bag.coords)) == ("slide vectors", 1, (1, 768), 0)
        assert open_folder(tmp_path / folder).header("s1").layout == "slide vectors"
    peer_clam(tmp_path / "c", n=1)
    with h5py.File(tmp_path / "c" / "h5_files" / "s1.h5", "r+") as file:
        assert len(open_folder(tmp_path / "c" / "h5_files").read("s1").features) == 1  # a slide of one tile
        file["coords"].resize((3, 2))
        file["coords"][:] = [[0, 0], [512, 0], [0, 512]]
    assert open_folder(tmp_path / "c" / "h5_files").read("s1").layout == "slide vectors"


def test_stamp_needs_the_scale_for_level_0_and_says_so(tmp_path):
    features, corners = peer_stamp(tmp_path / "mahmood-uni-12345678" / "sub" / "s1.h5")
    bag = open_folder(tmp_path).read("s1")
    assert (bag.layout, bag.coords_unit, bag.footprint_level0, bag.tile_um) == ("stamp", "um", None, 256.0)
    assert np.array_equal(bag.features, features)
    assert np.array_equal(bag.coords, corners * 0.25)
    bag = open_folder(tmp_path, mpp_of={"s1": (0.25, 0.25)}).read("s1")
    assert (bag.coords_unit, bag.footprint_level0) == ("level-0 px", 1024)
    assert np.array_equal(bag.coords, corners)
    assert convert(["--features", str(tmp_path), "--to", "trident", "--out", str(tmp_path / "out")]) == 1
    assert "--mpp" in (tmp_path / "out" / "status.csv").read_text()
    source = tmp_path / "mahmood-uni-12345678"
    arguments = ["--features", str(source), "--to", "trident", "--out", str(tmp_path / "out")]
    assert convert([*arguments, "--mpp", "0.25"]) == 0
    converted = open_folder(tmp_path / "out").read("s1")
    assert np.array_equal(converted.coords, corners)
    assert converted.footprint_level0 == 1024


def test_older_stamp_files_are_read_by_its_own_rules(tmp_path):
    peer_stamp(tmp_path / "v2.h5", attributes={"tile_size": 224.0, "unit": "um"})
    assert open_folder(tmp_path).read("v2").tile_um == 224.0
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["feats"] = np.ones((3, 4), np.float16)
        file["coords"] = np.array([[0, 0], [224, 448], [672, 224]])
    bag = open_folder(tmp_path).read("old")
    assert (bag.tile_um, bag.coords_unit, bag.coords.tolist()) == (256.0, "um", [[0, 0], [256, 512], [768, 256]])
    peer_stamp(tmp_path / "one.h5", attributes={"feat_type": "patient"})
    with pytest.raises(ValueError, match="one vector of the whole patient"):
        open_folder(tmp_path).read("one")


@pytest.mark.parametrize("shape", [(768,), (1, 768)])
def test_slide_vectors_of_every_tool_are_bags_of_one(tmp_path, shape):
    vector = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:  # TRIDENT
        file["features"], file["coords"] = vector, np.zeros((9, 2), np.int64)
        file["features"].attrs["encoder"] = "titan"
    with h5py.File(tmp_path / "b.h5", "w") as file:  # STAMP
        file["feats"] = vector
        file.attrs.update({"feat_type": "slide", "encoder": "titan"})
    for name in ("a", "b"):
        bag = open_folder(tmp_path).read(name)
        assert (bag.layout, bag.n_tiles, bag.attributes["encoder"]) == ("slide vectors", 1, "titan")
        assert np.array_equal(bag.features, vector.reshape(1, 768))
    if len(shape) == 1:
        (tmp_path / "pt").mkdir()
        torch.save(torch.from_numpy(vector), tmp_path / "pt" / "c.pt")
        assert open_folder(tmp_path / "pt").read("c").layout == "slide vectors"


def test_slideflow_is_read_with_corners_from_centres(tmp_path):
    features, corners = peer_slideflow(tmp_path)
    bag = open_folder(tmp_path, mpp_of={"s1": (0.3, 0.3)}).read("s1")
    assert (bag.layout, bag.footprint_level0, bag.coords_unit) == ("slideflow", 853, "level-0 px")
    assert (bag.attributes["encoder"], bag.attributes["stain"]) == ("CTransPathFeatures", "none")
    assert np.array_equal(bag.features, features)
    assert np.array_equal(bag.coords, corners)
    assert open_folder(tmp_path).read("s1").coords_unit == "level-0 px of tile centres"
    np.savez(tmp_path / "s1.index.npz", arr_0=np.zeros((6, 2), int), locations=np.zeros((6, 2), int))  # of TFRecords
    assert len(open_folder(tmp_path).read("s1").coords) == 0


def test_published_files_of_other_layouts_are_read(shared_data, tmp_path):
    for path in (shared_data / "bags").glob("*.h5"):
        (tmp_path / path.stem).mkdir()
        shutil.copy(path, tmp_path / path.stem / path.name)
    named = open_folder(tmp_path / "TCGA-3X-AAVA-01Z-00-DX1.features").read("TCGA-3X-AAVA-01Z-00-DX1")
    assert (named.layout, named.features.shape, named.coords_unit) == ("tile-names", (180, 512), "unknown")
    placed = open_folder(tmp_path / "TCGA-AD-6964-01Z-00-DX1.features").read("TCGA-AD-6964-01Z-00-DX1")
    assert (placed.layout, placed.features.shape, placed.coords_unit) == ("stamp", (777, 512), "unknown")
    assert (placed.tile_um, placed.coords[0].tolist()) == (None, [10240, 21504])
    with h5py.File(shared_data / "bags" / "TCGA-AD-6964-01Z-00-DX1.features.h5") as file:
        assert np.array_equal(placed.features, file["feats"][:])


class Runs:
    """Unpickling it would write a file."""

    def __reduce__(self):
        return (open, ("ran", "w"))


def test_damaged_and_foreign_files_get_one_clear_message(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    peer_trident(tmp_path / "a")
    whole = (tmp_path / "a" / "s1.h5").read_bytes()
    (tmp_path / "a" / "s1.h5").write_bytes(whole[: len(whole) // 2])
    peer_clam(tmp_path / "b")
    cut = (tmp_path / "b" / "pt_files" / "s1.pt").read_bytes()[:200]
    (tmp_path / "b" / "pt_files" / "s1.pt").write_bytes(cut)
    (tmp_path / "c").mkdir()
    torch.save({"model": Runs()}, tmp_path / "c" / "s1.pt")
    (tmp_path / "d").mkdir()
    with h5py.File(tmp_path / "d" / "s1.h5", "w") as file:
        file["x"] = np.ones(3)
    (tmp_path / "e").mkdir()
    with h5py.File(tmp_path / "e" / "s1.h5", "w") as file:
        file["features"] = np.ones((2, 3, 4), np.float32)
    (tmp_path / "f").mkdir()
    with h5py.File(tmp_path / "f" / "s1.h5", "w") as file:
        file["features"], file["coords"] = np.full((3, 2), np.nan, np.float32), np.zeros((3, 2), int)
    (tmp_path / "g").mkdir()
    with h5py.File(tmp_path / "g" / "s1.h5", "w") as file:
        file["features"], file["coords"] = np.ones((3, 2), np.float32), np.zeros((2, 2), int)
    (tmp_path / "h").mkdir()
    torch.save([torch.ones(3, 2)], tmp_path / "h" / "s1.pt")
    for folder, message in {
        "a": "not a complete HDF5 file", "b/pt_files": "not a file of one tensor", "c": "not a file of one tensor",
        "d": "no layout known here: it holds x", "b/patches": "coordinates and no embeddings",
        "e": "an array of shape", "f": "3 of 3 embeddings are not finite", "g": "3 embeddings and 2 coordinates",
        "h": "wanted one tensor .*, found list",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=message):
            open_folder(tmp_path / folder).read("s1")
    assert not (tmp_path / "ran").exists()


def refused(folder):
    found = open_folder(folder)
    return common_provenance({found.files[slide]: found.header(slide) for slide in found.files}, "give one kind")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"encoder": "conch"}, "encoder is 'uni_v1' in s1.h5 and 'conch' in s2.h5; give one kind"),
        ({"dim": 7}, "n_features is 4 in s1.h5 and 7 in s2.h5"),
        ({"size": 512}, "tile_px is 256 in s1.h5 and 512 in s2.h5"),
    ],
)
def test_mixed_folders_are_refused_with_the_reason(tmp_path, second, message):
    peer_trident(tmp_path, "s1")
    assert refused(tmp_path).layout == "trident"
    peer_trident(tmp_path, "s2", **second)
    with pytest.raises(StudyError, match=message):
        refused(tmp_path)


def test_mixed_layouts_and_two_files_of_one_slide_are_refused(tmp_path):
    peer_trident(tmp_path, "s1")
    peer_stamp(tmp_path / "s2.h5")
    with pytest.raises(StudyError, match=r"layout is 'trident' in s1\.h5 and 'stamp' in s2\.h5"):
        refused(tmp_path)
    (tmp_path / "s2.h5").unlink()
    torch.save(torch.ones(2, 4), tmp_path / "s1.pt")
    with pytest.raises(StudyError, match=r"two files of one slide, s1: s1\.h5 and s1\.pt"):
        open_folder(tmp_path)
    peer_stamp(tmp_path / "x" / "a" / "s1.h5")
    peer_stamp(tmp_path / "x" / "b" / "s1.h5")
    with pytest.raises(StudyError, match=r"two files of one slide, s1: a/s1\.h5 and b/s1\.h5"):
        open_folder(tmp_path / "x")


def test_slides_are_matched_by_name_without_what_tools_and_archives_add(tmp_path):
    for name in ("TCGA-AA-0001-01Z-00-DX1.0f-aa", "b_patches", "c.features", "d"):
        peer_trident(tmp_path, name)
    folder = open_folder(tmp_path)
    found = match_slides(["TCGA-AA-0001-01Z-00-DX1", "b", "c", "d", "e"], folder)
    assert found == {"TCGA-AA-0001-01Z-00-DX1": "TCGA-AA-0001-01Z-00-DX1.0f-aa", "b": "b", "c": "c", "d": "d"}
    peer_trident(tmp_path, "TCGA-AA-0001-01Z-00-DX1.0f-bb")
    assert "TCGA-AA-0001-01Z-00-DX1" not in match_slides(["TCGA-AA-0001-01Z-00-DX1"], open_folder(tmp_path))


def test_slideflow_has_one_tile_size_and_others_are_refused(tmp_path, capsys):
    peer_trident(tmp_path / "t", "s1")
    peer_trident(tmp_path / "t", "s2")
    (tmp_path / "study").mkdir()
    table = pd.DataFrame({"patient_id": ["p", "q"], "slide_id": ["s1", "s2"], "mpp": [0.299, 0.31]})
    table.to_csv(tmp_path / "study" / "cohort.csv", index=False)
    arguments = ["--study", str(tmp_path / "study"), "--features", str(tmp_path / "t"), "--out", str(tmp_path / "out")]
    assert convert([*arguments, "--to", "slideflow"]) == 2
    assert "tiles cover 153.1 to 158.7 µm" in capsys.readouterr().err
    assert convert([*arguments, "--to", "stamp"]) == 0
    assert "rounded to float16" in (tmp_path / "out" / "status.csv").read_text()


def test_tools_get_the_tables_they_want(tmp_path):
    write_own(tmp_path / "features" / "efficientnet_lite0", names=("a2", "b1", "a1"))
    rows = [
        ["B", "b1", "LMS", 3, 1],
        ["A", "a2", None, None, None],
        ["C", "c1", "LMS", 1, 0],
        ["A", "a1", None, None, None],
    ]
    table = pd.DataFrame(rows, columns=["patient_id", "slide_id", "subtype", "time", "event"])
    table.to_csv(tmp_path / "cohort.csv", index=False)
    wanted = {
        "clam": {"dataset.csv": "case_id,slide_id,label\nB,b1,LMS\n"},
        "stamp": {
            "slide.csv": "PATIENT,FILENAME\nA,a1.h5\nA,a2.h5\nB,b1.h5\n",
            "clini.csv": "PATIENT,subtype,time,event\nA,,,\nB,LMS,3.0,1\n",
        },
        "slideflow": {"annotations.csv": "patient,slide,subtype,time,event\nA,a1,,,\nA,a2,,,\nB,b1,LMS,3.0,1\n"},
        "trident": {},
    }
    for to, files in wanted.items():
        out = tmp_path / to
        assert convert(["--study", str(tmp_path), "--to", to, "--out", str(out)]) == 1  # c1 has no features
        assert "c1,convert_features,failed,it has no feature file" in (out / "status.csv").read_text()
        for name, text in files.items():
            assert (out / name).read_text() == text


def test_names_out_of_foreign_files_never_reach_out_of_the_folder(tmp_path):
    peer_trident(tmp_path / "theirs", encoder="../../../up", size=256)
    for to in ("trident", "stamp"):
        out = tmp_path / "deep" / "er" / to
        assert convert(["--features", str(tmp_path / "theirs"), "--mpp", "0.25", "--to", to, "--out", str(out)]) == 0
        assert open_folder(out).read("s1").attributes["encoder"] == "../../../up"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "theirs"]
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    side_file = out / "provenance" / "s1.json"
    record = json.loads(side_file.read_text())
    side_file.write_text(json.dumps(record | {"files": {"../../../kept.txt": "0"}}))
    assert convert(["--features", str(tmp_path / "theirs"), "--mpp", "0.25", "--to", "stamp", "--out", str(out)]) == 0
    assert kept.read_text() == "mine"


def test_two_identifiers_behind_a_dot_are_two_slides(tmp_path):
    for name in ("CASE7.B", "2019.4711"):
        peer_trident(tmp_path, name)
    folder = open_folder(tmp_path)
    assert match_slides(["CASE7.A", "2019.0815"], folder) == {}
    assert match_slides(["CASE7", "2019.4711"], folder) == {"CASE7": "CASE7.B", "2019.4711": "2019.4711"}


def test_coordinates_given_later_and_scales_of_two_axes_are_taken(tmp_path):
    peer_clam(tmp_path / "clam")
    (tmp_path / "clam" / "patches").rename(tmp_path / "elsewhere")
    arguments = ["--features", str(tmp_path / "clam" / "h5_files"), "--to", "own", "--out", str(tmp_path / "out")]
    study = tmp_path / "study"
    study.mkdir()
    (study / "cohort.csv").write_text("patient_id,slide_id,mpp_x,mpp_y\np,s1,0.25,0.3\n")
    arguments += ["--study", str(study)]
    assert convert(arguments) == 0
    assert read_record(record_file(tmp_path / "out", "s1"))["footprint_level0"] is None
    assert convert([*arguments, "--coordinates", str(tmp_path / "elsewhere")]) == 0
    record = read_record(record_file(tmp_path / "out", "s1"))
    assert record["footprint_level0"] == 256 * 4
    assert record["mpp"] == [0.25, 0.3]


def test_t10_a_number_behind_a_dot_is_no_identifier_to_leave_out(tmp_path):
    for name in ("12", "CASE7.1", "CASE8.B"):
        peer_trident(tmp_path, name)
    assert match_slides(["12.1", "CASE7", "CASE8"], open_folder(tmp_path)) == {"CASE8": "CASE8.B"}


# --- bounds and orders of the parts


@pytest.mark.parametrize(
    ("shape", "wanted", "n_tiles"),
    [
        ((5, 3), (5, 3), 5),
        ((1, 5, 3), (5, 3), 5),
        ((0,), (0, 0), 0),
        ((0, 3), (0, 3), 0),
        ((7,), (1, 7), 1),
        ((1, 7), (1, 7), 1),
    ],
)
def test_embeddings_are_rows_and_a_header_has_none_of_them(shape, wanted, n_tiles):
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rows, found = embedding_rows(Path("x.h5"), array, is_header=False)
    assert (rows.shape, found) == (wanted, n_tiles)
    assert np.array_equal(rows.ravel(), array.ravel())
    head, found = embedding_rows(Path("x.h5"), array, is_header=True)
    assert (head.shape, found) == ((0, wanted[1]), n_tiles)


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 1, 5, 3), ()])
def test_arrays_of_another_shape_or_type_are_no_embeddings(shape):
    with pytest.raises(ValueError, match=r"x\.h5: it holds an array of shape"):
        embedding_rows(Path("x.h5"), np.zeros(shape, np.float32), is_header=False)
    with pytest.raises(ValueError, match="embeddings of type int64"):
        embedding_rows(Path("x.h5"), np.zeros((2, 3), np.int64), is_header=False)
    assert embedding_rows(Path("x"), np.zeros((2, 3)), is_header=False)[0].dtype == np.float32
    assert embedding_rows(Path("x"), np.zeros((2, 3), np.float16), is_header=False)[0].dtype == np.float16


def test_a_size_is_one_number_above_0_and_up_to_a_thousand_million():
    for value, number in ((3, 3.0), ("2.5", 2.5), ([4], 4.0), (np.array([[5]]), 5.0), (1e9, 1e9), (1e-9, 1e-9)):
        assert stated_size(Path("x"), "tile_um", value) == number
    for value in (0, -1, 1.1e9, [1, 2], [], "wide", True, np.bool_(True), math.inf, math.nan, None):
        with pytest.raises(ValueError, match=r"x: tile_um is .*; wanted a number above 0"):
            stated_size(Path("x"), "tile_um", value)


def test_steps_and_footprints_are_those_of_the_tools():
    assert coordinate_stride(np.array([[0, 0], [30, 20], [90, 70]])) == 20
    assert coordinate_stride(np.array([[0, 0], [10, 90], [25, 0]])) == 10
    assert coordinate_stride(np.array([[0, 0], [30, 0]])) is None
    assert coordinate_stride(np.empty((0, 2), np.int64)) is None
    assert (stamp_footprint(256.0, 0.3), slideflow_footprint(256.0, 0.3)) == (854, 853)
    assert centres_of_corners(np.array([[10, 20]]), 7).tolist() == [[13, 23]]
    assert corners_of_centres(np.array([[13, 23]]), 7).tolist() == [[10, 20]]


def test_files_are_those_of_feature_endings_without_a_dot_before_and_links_and_folders_are_passed_over(tmp_path):
    peer_trident(tmp_path, "b")
    peer_trident(tmp_path, "a")
    for name in (".hidden.h5", "notes.txt", "c.h5.part"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder.h5").mkdir()
    found = open_folder(tmp_path)
    assert list(found.files) == ["a", "b"]
    assert found.coordinates is None
    (tmp_path / "patches").mkdir()
    assert open_folder(tmp_path).coordinates == tmp_path / "patches"
    assert open_folder(tmp_path, coordinates=tmp_path).coordinates == tmp_path
    (tmp_path / "inner").mkdir()
    with pytest.raises(StudyError, match=r"no feature files \(\.h5 or \.pt\) in"):
        open_folder(tmp_path / "inner")
    with pytest.raises(StudyError, match=r"no folder .*nowhere; give the folder"):
        open_folder(tmp_path / "nowhere")


def test_encoders_and_double_slides_are_named_in_order(tmp_path):
    for name in ("features_z", "features_m", "features_a"):
        peer_trident(tmp_path / "job" / name)
    (tmp_path / "job" / "features_0").mkdir()  # empty: no encoder
    with pytest.raises(StudyError, match="sizes: features_a, features_m, features_z; give one"):
        open_folder(tmp_path / "job")
    for name in ("s3", "s1", "s2"):
        for part in ("y", "x"):
            peer_stamp(tmp_path / "stamp" / part / f"{name}.h5")
    with pytest.raises(StudyError, match=r"two files of one slide, s1: x/s1\.h5 and y/s1\.h5 \(3 such slide\(s\)\)"):
        open_folder(tmp_path / "stamp")


def test_clams_slides_come_from_both_folders_and_the_h5_wins(tmp_path):
    peer_clam(tmp_path, "b")
    peer_clam(tmp_path, "a")
    (tmp_path / "h5_files" / "b.h5").unlink()
    files = open_folder(tmp_path).files
    assert {slide: path.parent.name for slide, path in files.items()} == {"a": "h5_files", "b": "pt_files"}


def test_a_start_of_a_name_is_taken_only_where_it_is_of_one_slide_on_both_sides(tmp_path):
    for name in ("A.x", "B.x", "B.y", "C", "D.x"):
        peer_trident(tmp_path, name)
    folder = open_folder(tmp_path)
    assert match_slides(["A", "B", "C.q", "D", "D.z"], folder) == {"A": "A.x", "C.q": "C"}
    assert list(match_slides(["D.x", "C", "B.y", "A"], folder)) == ["A", "B.y", "C", "D.x"]


def test_an_empty_slide_says_nothing_of_how_the_others_were_made(tmp_path):
    peer_trident(tmp_path, "b")
    peer_trident(tmp_path, "c")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"], file["coords"] = np.empty(0, np.float32), np.empty((0, 2), np.int64)
    assert refused(tmp_path).encoder == "uni_v1"
    for name in ("b", "c"):
        (tmp_path / f"{name}.h5").unlink()
    assert refused(tmp_path).encoder is None


def test_the_origin_names_what_files_do_not_say(tmp_path):
    peer_trident(tmp_path, "s1")
    text = origin(refused(tmp_path))
    assert text.startswith(
        "features in the layout of trident: 4 numbers a tile, encoder uni_v1, licence of the encoder unknown"
    )
    assert text.endswith("; the files do not say weights_sha256, transform, stain, stain_reference, tile_um, precision")
    own = write_own(tmp_path / "own")
    found = origin(refused(own))
    assert (
        found
        == "features in the layout of sarcoma-mil: 5 numbers a tile, encoder uni, licence of the encoder CC-BY-NC-ND-4.0"
    )


def test_scales_come_from_the_table_and_from_whole_tile_files(tmp_path):
    table = "patient_id,slide_id,mpp\np,a,0.5\nq,b,\nr,c,0.25\n"
    (tmp_path / "cohort.csv").write_text(table)
    assert scale_of_table(read_cohort(tmp_path / "cohort.csv")) == {"a": (0.5, 0.5), "c": (0.25, 0.25)}
    for name, known in (("a", {"mpp_x": 0.5, "mpp_y": 0.4}), ("b", {"mpp_x": 0.5}), ("c", {"mpp_y": 0.5})):
        write_arrays(tmp_path / f"{name}.h5", {"coords": np.zeros((1, 2))}, {"schema": "tiles/3", **known})
    (tmp_path / "d.h5").write_bytes(b"x")
    assert scale_of_tile_files(tmp_path, ["a", "b", "c", "d", "e"]) == {"a": (0.5, 0.4)}


@pytest.mark.parametrize(("mpp", "is_right"), [(0.05, True), (10, True), (0.049, False), (10.1, False)])
def test_settings_of_a_conversion_have_bounds(mpp, is_right):
    if is_right:
        assert ConversionConfig(mpp=mpp, to="clam").mpp == mpp
    else:
        with pytest.raises(ValueError, match=r"--mpp is a scale from 0\.05 to 10"):
            ConversionConfig(mpp=mpp)
    with pytest.raises(ValueError, match="--to is one of clam, trident, stamp, slideflow, own, got 'x'"):
        ConversionConfig(to="x")


def test_a_given_scale_is_for_slides_that_have_none(tmp_path):
    peer_trident(tmp_path, "a")
    peer_trident(tmp_path, "b")
    folder = open_folder(tmp_path, mpp_of={"a": (0.2, 0.3)})
    assert with_scale(folder, None) is folder
    assert with_scale(folder, 0.5).mpp_of == {"a": (0.2, 0.3), "b": (0.5, 0.5)}


def exchange_bag(**changes):
    known = {
        "slide_id": "s", "layout": "clam", "features": np.ones((3, 4), np.float32), "coords": np.array([[0, 0], [9, 9], [5, 5]]),
        "coords_unit": "level-0 px", "n_tiles": 3, "attributes": {"encoder": "a/b c"}, "footprint_level0": 512,
        "mpp": (0.5, 0.25), "tile_um": 256.0, "tile_px": 224,
    }  # fmt: skip
    return ExchangeBag(**known | changes)


@pytest.mark.parametrize(
    ("to", "changes", "message"),
    [
        ("clam", {"n_tiles": 0, "features": np.empty((0, 4), np.float32)}, "it has no tiles"),
        ("clam", {"coords": np.array([[2**31, 0]] * 3)}, "its coordinates exceed int32"),
        ("clam", {"coords": np.array([[-(2**31) - 1, 0]] * 3)}, "its coordinates exceed int32"),
        ("trident", {"footprint_level0": None}, "the side of its tiles is not known"),
        ("trident", {"tile_px": None}, "the side of its tiles is not known"),
        ("trident", {"mpp": None}, "wants magnifications"),
        ("trident", {"tile_um": None}, "wants magnifications"),
        ("trident", {"coords_unit": "um"}, "its coordinates are in um"),
        ("own", {"coords_unit": "unknown"}, "its clam file does not say where the tiles are"),
        ("stamp", {"tile_um": None}, "the size of its tiles in µm is not known"),
        ("stamp", {"tile_px": None}, "the size of its tiles in µm is not known"),
        ("stamp", {"mpp": None}, "the slide's scale is not known"),
        ("stamp", {"features": np.full((3, 4), 1e5, np.float32)}, "exceed float16"),
        ("stamp", {"coords": np.array([[2**30 + 1, 0]] * 3)}, "do not survive STAMP's float32"),
        ("slideflow", {"tile_um": None}, "the size of its tiles in µm is not known"),
        ("slideflow", {"mpp": None}, "the slide's scale is not known"),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(tmp_path, to, changes, message):
    with pytest.raises(SlideError, match=message):
        write_layout(tmp_path, exchange_bag(**changes), to)


def test_what_the_layouts_hold_stands_at_its_place(tmp_path):
    bag = exchange_bag(coords=np.array([[2**31 - 1, 0]] * 3))
    names = [str(path.relative_to(tmp_path)) for path in write_layout(tmp_path, bag, "clam")]
    assert names == ["h5_files/s.h5", "patches/s.h5", "pt_files/s.pt"]
    with h5py.File(tmp_path / "patches" / "s.h5") as file:
        known = dict(file["coords"].attrs)
        assert file["coords"][0].tolist() == [2**31 - 1, 0]
    assert (known["patch_size"], known["patch_level"], known["level_dim"].tolist()) == (512, 0, [0, 0])
    known = exchange_bag(coords_attributes={"level0_width": 90, "level0_height": 80})
    write_layout(tmp_path, known, "clam")
    with h5py.File(tmp_path / "patches" / "s.h5") as file:
        assert file["coords"].attrs["level_dim"].tolist() == [90, 80]
        assert file["coords"].attrs["downsample"].tolist() == [1.0, 1.0]
    placeless = exchange_bag(coords_unit="unknown", coords=np.empty((0, 2), np.int64))
    assert [path.name for path in write_layout(tmp_path, placeless, "clam")] == ["s.pt"]
    assert [path.name for path in write_layout(tmp_path, placeless, "slideflow")] == ["s.pt"]
    unsized = exchange_bag(footprint_level0=None)
    assert [path.name for path in write_layout(tmp_path, unsized, "clam")] == ["s.h5", "s.pt"]
    (path,) = write_layout(tmp_path, exchange_bag(), "trident")
    assert str(path.relative_to(tmp_path)) == "8.75x_224px_0px_overlap/features_a_b_c/s.h5"
    with h5py.File(path) as file:
        known = dict(file["coords"].attrs)
        assert (file["features"].chunks, file["features"].maxshape) == ((3, 4), (None, 4))
    assert (known["level0_magnification"], known["target_magnification"], known["overlap"]) == (20.0, 8.75, 0)
    assert (known["patch_size"], known["patch_size_level0"], known["level0_width"]) == (224, 512, "None")
    given = exchange_bag(coords_attributes={"level0_magnification": 40, "target_magnification": 10, "overlap": 3})
    assert write_layout(tmp_path, given, "trident")[0].parent.parent.name == "10x_224px_3px_overlap"
    (path,) = write_layout(tmp_path, exchange_bag(), "stamp")
    with h5py.File(path) as file:
        assert file["coords"][:].tolist() == [[0, 0], [4.5, 4.5], [2.5, 2.5]]
        assert (file.attrs["tile_size_um"], file.attrs["tile_size_px"], file.attrs["extractor"]) == (
            256.0,
            224,
            "a/b c",
        )
    (path,) = write_layout(tmp_path, exchange_bag(), "own")
    assert read_feature_bag(path).attributes["mpp_source"] == "given with clam features"
    assert (read_feature_bag(path).attributes["mpp_x"], read_feature_bag(path).attributes["mpp_y"]) == (0.5, 0.25)
    with h5py.File(path) as file:
        assert file["coords"].attrs["patch_size_level0"] == 512
    large = exchange_bag(features=np.ones((40, 4), np.float32), coords=np.zeros((40, 2), np.int64), n_tiles=40)
    with h5py.File(write_layout(tmp_path, large, "trident")[0]) as file:
        assert file["features"].chunks == (32, 4)


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        ({"stain": "none", "tile_um": 256.0}, {"normalizer": None, "tile_um": 256}),
        ({"stain": "normalised", "tile_um": 256.5, "stain_reference": "r"},
         {"normalizer": {"method": "sarcoma_mil_normalised", "fit": {"reference": "r"}}, "tile_um": 256.5}),
        ({}, {"normalizer": {"method": "sarcoma_mil_unknown", "fit": {"reference": None}}, "tile_um": "unknown"}),
    ],
)  # fmt: skip
def test_slideflows_record_says_colours_and_size(tmp_path, known, wanted):
    write_bags_config(tmp_path, Provenance(encoder="uni", n_features=5, tile_px=224, **known))
    found = json.loads((tmp_path / "bags_config.json").read_text())
    assert found == {
        "extractor": {"class": "sarcoma_mil.uni", "kwargs": {}},
        "num_features": 5,
        "tile_px": 224,
        **wanted,
    }


@pytest.mark.parametrize(
    ("config", "attributes", "tile_um"),
    [
        ({"tile_um": "20x", "tile_px": 224}, {"tile_um": "20x", "stain": "unknown", "encoder": "unknown"}, None),
        ({"tile_um": 128, "normalizer": {"method": "macenko", "fit": {"b": 1, "a": 2}}},
         {"tile_um": 128.0, "stain": "macenko", "stain_reference": '{"a": 2, "b": 1}', "tile_px": "unknown"}, 128.0),
        ({"extractor": {"class": "x.y.UNI"}, "normalizer": None}, {"encoder": "UNI", "stain": "none", "tile_um": "unknown"}, None),
    ],
)  # fmt: skip
def test_slideflows_record_is_read_as_it_stands(tmp_path, config, attributes, tile_um):
    peer_slideflow(tmp_path)
    (tmp_path / "bags_config.json").write_text(json.dumps(config))
    bag = read_tensor(Source(path=tmp_path / "s1.pt", slide_id="s1", mpp=(0.3, 0.3)))
    assert attributes.items() <= dict(bag.attributes).items()
    assert bag.tile_um == tile_um
    assert bag.coords_unit == ("level-0 px" if tile_um else "level-0 px of tile centres")
    assert bag.footprint_level0 == (None if tile_um is None else 426)
    head = read_tensor(Source(path=tmp_path / "s1.pt", slide_id="s1", mpp=(0.3, 0.3), is_header=True))
    assert (head.n_tiles, head.features.shape, len(head.coords)) == (6, (0, 4), 0)
    assert dict(head.attributes) == dict(bag.attributes)


def test_a_tensor_alone_is_clams_one_with_an_index_is_slideflows_and_odd_types_are_read(tmp_path):
    torch.save(torch.ones(3, 4, dtype=torch.bfloat16), tmp_path / "a.pt")
    bag = read_tensor(Source(path=tmp_path / "a.pt", slide_id="a"))
    assert (bag.layout, bag.features.dtype, bag.coords_unit, bag.n_tiles) == ("clam", np.float32, "unknown", 3)
    np.save(tmp_path / "a.index.npy", np.array([[10, 20]] * 3))
    bag = read_tensor(Source(path=tmp_path / "a.pt", slide_id="a"))
    assert (bag.layout, bag.coords.tolist()) == ("slideflow", [[10, 20]] * 3)
    np.savez(tmp_path / "a.index.npz", arr_0=np.array([[30, 40]] * 3))  # slideflow's own comes first
    assert read_tensor(Source(path=tmp_path / "a.pt", slide_id="a")).coords[0].tolist() == [30, 40]
    torch.save(torch.ones(0, 4), tmp_path / "b.pt")
    assert read_tensor(Source(path=tmp_path / "b.pt", slide_id="b")).n_tiles == 0
    torch.save(torch.ones(3, 4), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_tensor(Source(path=tmp_path / "old.pt", slide_id="old")).n_tiles == 3


def written_stamp(path, coords, **attributes):
    with h5py.File(path, "w") as file:
        file["feats"], file["coords"] = np.ones((len(coords), 4), np.float16), np.array(coords, np.float32)
        file.attrs.update(attributes)
    return path


@pytest.mark.parametrize(
    ("attributes", "coords", "tile_um", "tile_px"),
    [
        ({"tile_size_um": 128.0, "tile_size_px": 224}, [[0, 0], [128, 128]], 128.0, 224),
        ({"tile_size": 200.0, "unit": "um"}, [[0, 0], [200, 200]], 200.0, None),
        ({"tile_size": 200.0, "unit": "px"}, [[0, 0], [200, 200]], None, None),
        ({"tile_size": 224.0}, [[0, 0], [500, 500]], 256.0, 224),
        ({}, [[0, 0], [224.3, 448]], 256.0, 224),
        ({}, [[0, 0], [225, 450]], None, None),
        ({}, [[0, 0]], None, None),
        ({"tile_size_um": 0.0, "tile_size_px": 0}, [[0, 0], [9, 9]], None, None),
    ],
)
def test_stamps_sizes_are_stated_or_told_by_the_step(tmp_path, attributes, coords, tile_um, tile_px):
    path = written_stamp(tmp_path / "s.h5", coords, **attributes)
    bag = read_hdf5(Source(path=path, slide_id="s"))
    assert (bag.tile_um, bag.tile_px) == (tile_um, tile_px)
    assert bag.coords_unit == ("um" if tile_um else "unknown")
    assert bag.attributes["tile_px"] == (tile_px or "unknown")
    at_scale = read_hdf5(Source(path=path, slide_id="s", mpp=(0.5, 1.0)))
    assert at_scale.coords_unit == ("level-0 px" if tile_um else "unknown")
    assert at_scale.footprint_level0 == (math.ceil(tile_um / 0.5) if tile_um else None)
    if tile_um == 256.0:
        assert bag.coords[1, 0] == pytest.approx(coords[1][0] / 224 * 256)
    head = read_hdf5(Source(path=path, slide_id="s", is_header=True))
    assert (head.n_tiles, len(head.coords), head.tile_um, head.coords_unit) == (
        len(coords),
        0,
        tile_um,
        bag.coords_unit,
    )


def test_our_own_files_say_side_and_scale_by_what_they_have(tmp_path):
    def written(beside=None, given=(0.4, 0.4), **attributes):
        own = FeatureBag(
            slide_id="s", features=np.ones((2, 3), np.float16), coords=np.zeros((2, 2), np.int64), unreadable=np.empty(0, np.int64),
            attributes={"encoder": "e", **attributes},
        )  # fmt: skip
        write_feature_bag(tmp_path / "s.h5", own, coords_attributes=beside or {})
        bags = [
            read_hdf5(Source(path=tmp_path / "s.h5", slide_id="s", mpp=given, is_header=is_header))
            for is_header in (True, False)
        ]
        assert [bag.n_tiles for bag in bags] == [2, 2]
        facts = [(bag.mpp, bag.tile_um, bag.footprint_level0, bag.tile_px) for bag in bags]
        assert facts[0] == facts[1]
        assert "schema" not in bags[1].attributes
        return facts[0]

    assert written(tile_um=100.0, tile_px=224) == ((0.4, 0.4), 100.0, 250, 224)
    assert written(tile_um=100.0, tile_px=224, mpp_x=0.5, mpp_y=0.25) == ((0.5, 0.25), 100.0, 200, 224)
    assert written({"patch_size_level0": 77}, tile_um=100.0, tile_px=224) == ((0.4, 0.4), 100.0, 77, 224)
    assert written(tile_um=0.0, tile_px=224, images="[]") == ((0.4, 0.4), pytest.approx(89.6), 224, 224)
    assert written(tile_um="unknown", tile_px="unknown") == ((0.4, 0.4), None, None, None)
    assert written(tile_um="unknown", tile_px="unknown", images="[]") == ((0.4, 0.4), None, None, None)
    assert written(tile_um=100.0, tile_px=224, images="[]", given=None) == (None, None, 224, 224)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["features"], file["coords"] = np.ones((2, 3), np.float16), np.zeros((2, 2), np.int64)
        file.attrs["schema"] = "features/0"
    with pytest.raises(ValueError, match=r"t\.h5: format features/0, not .*; rerun features/extract_features\.py"):
        read_hdf5(Source(path=tmp_path / "t.h5", slide_id="t", is_header=True))


def test_layouts_are_told_apart_by_the_first_that_fits(tmp_path):
    def layout(arrays, *, attributes=None, of_coords=None):
        with h5py.File(tmp_path / "s.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array
            file.attrs.update(attributes or {})
            if of_coords:
                file["coords"].attrs.update(of_coords)
        return read_hdf5(Source(path=tmp_path / "s.h5", slide_id="s")).layout

    rows, one = np.ones((3, 4), np.float32), np.ones((1, 4), np.float32)
    three, single = np.zeros((3, 2), np.int64), np.zeros((1, 2), np.int64)
    sides = {"patch_size_level0": 512, "patch_size": 256}
    assert layout({"features": rows, "coords": three}) == "clam"
    assert layout({"features": rows}) == "clam"
    assert layout({"features": rows, "coords": three}, of_coords=sides) == "trident"
    assert layout({"features": rows, "metadata": np.ones(3)}) == "tile-names"
    assert layout({"features": rows, "metadata": np.ones(3), "coords": three}) == "clam"
    assert layout({"feats": rows, "coords": three}) == "stamp"
    assert layout({"patch_embeddings": rows}) == "stamp"
    assert layout({"features": one[0]}) == "slide vectors"
    assert layout({"features": one, "coords": three}) == "slide vectors"
    assert layout({"features": one, "coords": single}) == "clam"
    assert layout({"features": one}) == "clam"
    assert layout({"feats": one}, attributes={"feat_type": "slide"}) == "slide vectors"
    assert layout({"feats": one}, attributes={"feat_type": "tile"}) == "stamp"
    assert layout({"feats": rows}, attributes={"feat_type": "tile"}) == "stamp"
    assert layout({"features": np.empty(0, np.float32), "coords": np.empty((0, 2))}) == "clam"
    with pytest.raises(ValueError, match=r"it holds a \(2,\), b \(group\); wanted"):
        with h5py.File(tmp_path / "s.h5", "w") as file:
            file["a"] = np.ones(2)
            file.create_group("b")
        read_hdf5(Source(path=tmp_path / "s.h5", slide_id="s"))
    with h5py.File(tmp_path / "s.h5", "w"):
        pass
    with pytest.raises(ValueError, match="no layout known here: it holds nothing"):
        read_hdf5(Source(path=tmp_path / "s.h5", slide_id="s"))


@pytest.mark.parametrize("coords", [np.zeros((3, 3)), np.zeros(6), np.zeros((2, 3, 2))])
def test_places_are_two_columns(tmp_path, coords):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["features"], file["coords"] = np.ones((3, 4), np.float32), coords
    with pytest.raises(ValueError, match=r"s\.h5: coords of shape .*; wanted x and y of every tile"):
        read_exchange_bag(Source(path=tmp_path / "s.h5", slide_id="s"))


def test_clams_coordinate_file_gives_the_side_or_is_refused(tmp_path):
    peer_clam(tmp_path)
    source = Source(path=tmp_path / "h5_files" / "s1.h5", slide_id="s1", mpp=(0.5, 0.25))
    beside = tmp_path / "patches" / "s1.h5"
    bag = read_exchange_bag(source, coordinate_file=beside)
    assert (bag.footprint_level0, bag.tile_px, bag.tile_um, bag.attributes["tile_px"]) == (1024, 256, 512.0, 256)
    assert read_exchange_bag(source).footprint_level0 is None
    assert read_exchange_bag(source, coordinate_file=tmp_path / "none.h5").footprint_level0 is None
    with h5py.File(beside, "r+") as file:
        file["coords"].attrs["downsample"] = 2.0
        del file["coords"].attrs["patch_level"]
    with pytest.raises(ValueError, match="no patch_level on coords"):
        read_exchange_bag(source, coordinate_file=beside)
    with h5py.File(beside, "r+") as file:
        file["coords"].attrs["patch_level"] = 0
    assert read_exchange_bag(source, coordinate_file=beside).footprint_level0 == 512
    with h5py.File(beside, "w") as file:
        file["other"] = 1
    with pytest.raises(ValueError, match="not a complete HDF5 file of coordinates"):
        read_exchange_bag(source, coordinate_file=beside)
    peer_trident(tmp_path / "t")
    source = Source(path=tmp_path / "t" / "s1.h5", slide_id="s1")
    assert read_exchange_bag(source, coordinate_file=beside).footprint_level0 == 512  # its own


def test_values_that_are_not_finite_and_places_of_others_are_refused(tmp_path):
    features = np.ones((4, 3), np.float32)
    features[1, 2], features[3, 0] = np.nan, np.inf
    torch.save(torch.from_numpy(features), tmp_path / "s.pt")
    with pytest.raises(ValueError, match="2 of 4 embeddings are not finite"):
        read_exchange_bag(Source(path=tmp_path / "s.pt", slide_id="s"))
    assert read_exchange_bag(Source(path=tmp_path / "s.pt", slide_id="s", is_header=True)).n_tiles == 4
    torch.save(torch.ones(4, 3), tmp_path / "s.pt")
    np.savez(tmp_path / "s.index.npz", arr_0=np.zeros((3, 2), np.int64))
    with pytest.raises(ValueError, match="4 embeddings and 3 coordinates"):
        read_exchange_bag(Source(path=tmp_path / "s.pt", slide_id="s"))


def test_a_side_file_is_found_three_folders_up_and_only_for_files_it_names(tmp_path):
    bag = exchange_bag()
    near, far = tmp_path / "a" / "b" / "s.h5", tmp_path / "a" / "b" / "c" / "s.h5"
    for path in (near, far):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    write_record(tmp_path, bag, settings={"to": "x"}, files=[near, far])
    assert find_record(near)[0] == tmp_path
    assert find_record(far) is None  # a fourth folder up is nobody's
    assert find_record(tmp_path / "a" / "s.h5") is None
    assert is_finished(tmp_path, "s", {"to": "x"})
    assert not is_finished(tmp_path, "s", {"to": "y"})
    assert not is_finished(tmp_path, "t", {"to": "x"})
    near.write_bytes(b"y")
    assert not is_finished(tmp_path, "s", {"to": "x"})
    near.unlink()
    assert not is_finished(tmp_path, "s", {"to": "x"})
    side_file = record_file(tmp_path, "s")
    known = json.loads(side_file.read_text())
    for files in ({"/etc/x": "0"}, {"a/../../x": "0"}):
        side_file.write_text(json.dumps(known | {"files": files}))
        assert read_record(side_file) is None
    for content in ("{", "[1]", json.dumps(known | {"schema": "exchange/0"})):
        side_file.write_text(content)
        assert read_record(side_file) is None
