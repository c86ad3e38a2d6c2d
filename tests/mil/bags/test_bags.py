"""Patient bags out of other tools' folders: trained on as they are, in any order, with their origin on record."""

import json
import pickle
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from common.arrays import read_attributes
from common.cohort import read_cohort
from common.failures import StudyError
from features.convert_features import main as convert
from features.exchange.bag import LEVEL0
from features.exchange.folder import FeatureFolder
from mil.bags.bags import BagStore, open_bags
from mil.train import main as train
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import ENCODER, make_feature_study

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training

FAST = ["--epochs", "4", "--hidden", "16", "--attention", "8", "--bootstrap", "100", "--threads", "1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_feature_study(tmp_path_factory.mktemp("study"), n_patients=24)
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    assert train(["--study", str(study.root), *FAST]) == 0
    return study


def features_of(study):
    """Return slide id to embeddings and corners."""
    from features.store.feature_store import read_feature_bag

    bags = [read_feature_bag(path) for path in sorted(study.features(ENCODER).glob("*.h5"))]
    return {bag.slide_id: (bag.features.astype(np.float32), bag.coords) for bag in bags}


def as_clam(study, folder):
    for name in ("h5_files", "pt_files"):
        (folder / name).mkdir(parents=True)
    for slide, (features, coords) in features_of(study).items():
        with h5py.File(folder / "h5_files" / f"{slide}.h5", "w") as file:
            file["features"], file["coords"] = features, coords.astype(np.int32)
        torch.save(torch.from_numpy(features), folder / "pt_files" / f"{slide}.pt")


def as_trident(study, folder):
    inside = folder / "20x_256px_0px_overlap" / "features_uni_v1"
    inside.mkdir(parents=True)
    for slide, (features, coords) in features_of(study).items():
        with h5py.File(inside / f"{slide}.h5", "w") as file:
            file["features"], file["coords"] = features, coords
            file["features"].attrs.update({"name": slide, "savetodir": "", "encoder": "uni_v1"})
            file["coords"].attrs.update({"patch_size": 256, "patch_size_level0": 512, "target_magnification": 20})


def as_stamp(study, folder):
    for number, (slide, (features, coords)) in enumerate(features_of(study).items()):
        path = folder / "uni-12345678" / f"part{number % 3}" / f"{slide}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["feats"], file["coords"] = features.astype(np.float16), (coords * 0.5).astype(np.float32)
            file.attrs.update({"extractor": "uni", "unit": "um", "tile_size_um": 256.0, "tile_size_px": 224})


def as_slideflow(study, folder):
    folder.mkdir()
    for slide, (features, coords) in features_of(study).items():
        torch.save(torch.from_numpy(features), folder / f"{slide}.pt")
        np.savez(folder / f"{slide}.index.npz", arr_0=coords + 256)
    config = {"extractor": {"class": "x.UNI", "kwargs": {}}, "normalizer": None, "tile_px": 256, "tile_um": 256}
    (folder / "bags_config.json").write_text(json.dumps(config))


MAKERS = {"clam": as_clam, "trident": as_trident, "stamp": as_stamp, "slideflow": as_slideflow}


@pytest.mark.slow
@pytest.mark.parametrize("layout", MAKERS)
def test_a_folder_of_another_tool_trains_as_it_is_to_the_same_predictions(study, tmp_path, capsys, layout):
    MAKERS[layout](study, tmp_path / "theirs")
    assert train(["--study", str(study.root), "--features", str(tmp_path / "theirs"), "--name", layout, *FAST]) == 0
    out = capsys.readouterr().out
    assert f"features in the layout of {layout}: 12 numbers a tile" in out
    assert "licence of the encoder unknown" in out
    ours, theirs = study.run("subtype", "default"), study.run("subtype", layout)
    assert (ours / "predictions.csv").read_bytes() == (theirs / "predictions.csv").read_bytes()
    known = json.loads((theirs / "run.json").read_text())["encoder"]
    assert known["layout"] == layout
    assert known["encoder"] == {"clam": "unknown", "trident": "uni_v1", "stamp": "uni", "slideflow": "UNI"}[layout]
    assert known["licence"] == known["weights_sha256"] == "unknown"
    assert f"<td>layout</td><td>{layout}</td>" in (theirs / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("layout", MAKERS)
def test_a_converted_folder_trains_to_the_same_predictions_and_keeps_what_is_known(study, tmp_path, layout):
    out = tmp_path / "out"
    if layout in ("stamp", "slideflow"):  # the feature study has no scale of its own
        table = pd.read_csv(study.cohort_table).assign(mpp=0.5)
        table.to_csv(tmp_path / "cohort.csv", index=False)
        shutil.copytree(study.root / "features", tmp_path / "features")
        source = ["--study", str(tmp_path)]
    else:
        source = ["--study", str(study.root)]
    if layout == "trident":  # wants magnifications
        source += ["--mpp", "0.5"]
    assert convert([*source, "--to", layout, "--out", str(out)]) == 0
    bags, _, missing = open_bags(study, read_cohort(study.cohort_table), ENCODER, features=out)
    assert not missing
    assert bags.provenance.encoder == ENCODER
    assert bags.provenance.licence == "none"
    ours, _, _ = open_bags(study, read_cohort(study.cohort_table), ENCODER)
    for patient in ours.patients:
        assert np.array_equal(bags.read(patient).tiles, ours.read(patient).tiles)
        assert bags.read(patient).tiles.dtype == np.float16
        assert np.array_equal(bags.read(patient).coords, ours.read(patient).coords)
        assert bags.read(patient).slide_ids == ours.read(patient).slide_ids


def test_no_slide_is_lost_when_a_patients_rows_are_not_adjacent(study, tmp_path):
    """Grouping a table that is not sorted keeps only a patient's last run of rows: rows A, B, A lost a slide of A."""
    as_trident(study, tmp_path / "theirs")
    table = pd.read_csv(study.cohort_table)
    wanted = table.groupby("patient_id")["slide_id"].apply(sorted).to_dict()
    for seed in range(3):
        table.sample(frac=1, random_state=seed).to_csv(tmp_path / "cohort.csv", index=False)
        bags, _, missing = open_bags(study, read_cohort(tmp_path / "cohort.csv"), ENCODER, features=tmp_path / "theirs")
        assert {patient: bags.slides_of(patient) for patient in bags.patients} == wanted
        assert not missing


def test_empty_slides_and_slides_without_a_file_are_listed(study, tmp_path):
    as_trident(study, tmp_path / "theirs")
    inside = tmp_path / "theirs" / "20x_256px_0px_overlap" / "features_uni_v1"
    (inside / "P00-0.h5").unlink()
    with h5py.File(inside / "P01-1.h5", "a") as file:
        kept = dict(file["coords"].attrs)
        del file["features"], file["coords"]
        file["features"], file["coords"] = np.empty(0, np.float32), np.empty((0, 2), np.int64)
        file["coords"].attrs.update(kept)
        file["features"].attrs["encoder"] = "uni_v1"
    bags, lost, missing = open_bags(study, read_cohort(study.cohort_table), ENCODER, features=tmp_path / "theirs")
    assert lost == {"P00": "none of its slides has features"}
    assert missing == ["P00-0", "P01-1"]
    assert bags.slides_of("P01") == ["P01-0"]


def test_truncated_mixed_and_strange_folders_stop_training_with_the_reason(study, tmp_path, capsys):
    as_trident(study, tmp_path / "theirs")
    inside = tmp_path / "theirs" / "20x_256px_0px_overlap" / "features_uni_v1"
    arguments = ["--study", str(study.root), "--features", str(tmp_path / "theirs"), *FAST]
    with h5py.File(inside / "P03-0.h5", "a") as file:
        file["features"].attrs["encoder"] = "conch_v15"
    assert train(arguments) == 2
    assert "encoder is 'uni_v1' in P00-0.h5 and 'conch_v15' in P03-0.h5" in capsys.readouterr().err
    path = inside / "P03-0.h5"
    path.write_bytes(path.read_bytes()[:800])
    assert train(arguments) == 2
    err = capsys.readouterr().err
    assert "P03-0.h5: not a complete HDF5 file" in err
    assert "Traceback" not in err
    for name in list(inside.glob("*.h5")):
        name.rename(inside / f"x{name.name}")
    assert train(arguments) == 2
    assert "their names are not the table's slide_id" in capsys.readouterr().err
    with pytest.raises(StudyError, match="no folder"):
        open_bags(study, read_cohort(study.cohort_table), ENCODER, features=tmp_path / "none")


def test_level_0_corners_come_with_the_tables_scale(study, tmp_path):
    as_stamp(study, tmp_path / "theirs")
    pd.read_csv(study.cohort_table).assign(mpp=0.5).to_csv(tmp_path / "cohort.csv", index=False)
    cohort = read_cohort(tmp_path / "cohort.csv")
    bags, _, _ = open_bags(study, cohort, ENCODER, features=tmp_path / "theirs")
    ours, _, _ = open_bags(study, cohort, ENCODER)
    assert bags.read("P01").coords_unit == "level-0 px"
    assert np.array_equal(bags.read("P01").coords, ours.read("P01").coords)
    without, _, _ = open_bags(study, read_cohort(study.cohort_table), ENCODER, features=tmp_path / "theirs")
    assert without.read("P01").coords_unit == "um"
    assert np.array_equal(without.read("P01").coords, ours.read("P01").coords * 0.5)


def test_the_bags_of_one_patient_go_to_another_process_with_their_scale_and_nothing_of_others(study, tmp_path):
    as_stamp(study, tmp_path / "theirs")
    pd.read_csv(study.cohort_table).assign(mpp=0.5).to_csv(tmp_path / "cohort.csv", index=False)
    bags, _, _ = open_bags(study, read_cohort(tmp_path / "cohort.csv"), ENCODER, features=tmp_path / "theirs")
    sent = pickle.dumps(bags.of("P01"))
    assert b"P02" not in sent
    own = pickle.loads(sent)
    assert own.patients == ["P01"]
    assert own.slides_of("P01") == bags.slides_of("P01")
    assert own.fingerprint("P01") == bags.fingerprint("P01")
    one, other = own.read("P01"), bags.read("P01")
    assert np.array_equal(one.tiles, other.tiles)
    assert np.array_equal(one.coords, other.coords)
    assert one.coords_unit == "level-0 px"


def stored(study, limit_bytes):
    return open_bags(study, read_cohort(study.cohort_table), ENCODER, limit_bytes=limit_bytes)[0]


def test_the_bags_used_last_stay_in_memory_up_to_the_limit(study):
    sizes = {patient: stored(study, 1 << 30).read(patient).tiles.nbytes for patient in ("P00", "P01", "P02")}
    store = stored(study, sizes["P01"] + sizes["P02"])
    first, second = store.read("P00"), store.read("P01")
    if sizes["P00"] + sizes["P01"] <= sizes["P01"] + sizes["P02"]:
        assert store.read("P00") is first
        assert store.read("P01") is second
    store = stored(study, sum(sizes.values()) - 1)
    kept = {patient: store.read(patient) for patient in ("P00", "P01")}
    assert store.read("P00") is kept["P00"]  # now P01 is the one that was not used for longest
    third = store.read("P02")
    assert store.read("P00") is kept["P00"]
    assert store.read("P02") is third
    assert store.read("P01") is not kept["P01"]
    small = stored(study, 1)
    alone = small.read("P00")  # larger than the limit: it stays until the next one
    assert small.read("P00") is alone
    other = small.read("P01")
    assert small.read("P01") is other
    assert small.read("P00") is not alone
    exact = stored(study, sizes["P00"] + sizes["P01"])
    kept = {patient: exact.read(patient) for patient in ("P00", "P01")}
    assert all(exact.read(patient) is bag for patient, bag in kept.items())


def test_a_bag_holds_its_slides_tiles_and_corners_in_order(study):
    store, known = stored(study, 1 << 30), features_of(study)
    assert store.patients == sorted({slide.split("-")[0] for slide in known})
    for patient in store.patients:
        bag, slides = store.read(patient), store.slides_of(patient)
        assert list(bag.slide_ids) == slides == sorted(slides)
        assert np.array_equal(bag.tiles, np.concatenate([known[slide][0] for slide in slides]))
        assert np.array_equal(bag.coords, np.concatenate([known[slide][1] for slide in slides]))
        assert bag.slide_of_tile.tolist() == [at for at, slide in enumerate(slides) for _ in known[slide][0]]
        assert (bag.images, len(bag.image_of_tile)) == ((), 0)
        sums = [read_attributes(study.feature_file(ENCODER, slide))["content_sha256"] for slide in slides]
        assert store.fingerprint(patient) == sums


def test_patients_without_features_are_named_in_order(study, tmp_path):
    table = pd.read_csv(study.cohort_table)
    more = pd.DataFrame(
        [
            {"patient_id": f"Q{number}", "slide_id": f"q{number}", "subtype": table["subtype"][0]}
            for number in (5, 3, 9, 1, 7, 2)
        ]
    )
    pd.concat([table, more]).to_csv(tmp_path / "cohort.csv", index=False)
    _, lost, missing = open_bags(study, read_cohort(tmp_path / "cohort.csv"), ENCODER)
    assert list(lost) == ["Q1", "Q2", "Q3", "Q5", "Q7", "Q9"]
    assert missing == ["q1", "q2", "q3", "q5", "q7", "q9"]
    more.to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(
        StudyError, match=r"no feature files of this cohort in .*make them with: python features/extract"
    ):
        open_bags(study, read_cohort(tmp_path / "cohort.csv"), ENCODER)
    with pytest.raises(StudyError, match=f"the nearest is {ENCODER}; make them with"):
        open_bags(study, read_cohort(tmp_path / "cohort.csv"), f"{ENCODER}x")


def test_images_of_several_slides_are_numbered_on_and_units_that_differ_give_no_corners(study, monkeypatch):
    rng, provenance = np.random.default_rng(0), stored(study, 1).provenance

    def part(slide, n, images, unit=LEVEL0, n_coords=None):
        n_coords = n if n_coords is None else n_coords
        index = np.arange(n) % len(images) if images else np.empty(0, np.int64)
        return SimpleNamespace(
            slide_id=slide, features=rng.normal(size=(n, 3)), coords=np.ones((n_coords, 2), np.int64), coords_unit=unit,
            image_index=index, attributes={"images": json.dumps(images)},
        )  # fmt: skip

    def bag_of(*parts):
        by_slide = {own.slide_id: own for own in parts}
        monkeypatch.setattr(FeatureFolder, "read", lambda _self, slide: by_slide[slide])
        folder = FeatureFolder(root=study.root, files=dict.fromkeys(by_slide, study.root))
        return BagStore({"p": list(by_slide)}, folder, provenance, limit_bytes=1).read("p")

    bag = bag_of(part("t", 3, ["x", "y"]), part("s", 2, ["a", "b"]), part("u", 1, []))
    assert bag.slide_ids == ("s", "t", "u")
    assert bag.images == ("a", "b", "x", "y")
    assert bag.image_of_tile.tolist() == [0, 1, 2, 3, 2]
    assert (bag.coords_unit, len(bag.coords)) == (LEVEL0, 6)
    assert bag_of(part("s", 2, [])).image_of_tile.dtype == np.int64
    for parts in ((part("s", 2, []), part("t", 2, [], unit="um")), (part("s", 2, []), part("t", 2, [], n_coords=0))):
        assert (bag_of(*parts).coords_unit, bag_of(*parts).coords.shape) == ("unknown", (0, 2))
