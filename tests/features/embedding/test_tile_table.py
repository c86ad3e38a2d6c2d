"""Tables of tile images: every habit of paths and sets, and the images that cannot be used."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from common.failures import SlideError, StudyError
from common.study import Study
from features.embedding import tile_table
from features.embedding.tile_table import image_path, read_tile_table, usable_images
from features.extract_features import main as extract
from features.store.feature_store import read_feature_bag
from features.stream import tile_reader
from features.stream.tile_reader import TileRequest, plan_reading, read_block
from preprocessing.reading.slide import open_slide

ENCODER = "efficientnet_lite0"
pytestmark = pytest.mark.usefixtures("kept_networks")


def write_table(path, rows, header="patient_ID,Path,Label,training_set,is_valid"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def write_image(path, side=256, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(path)
    return path


def test_paths_are_absolute_or_relative_to_the_table_or_to_a_base_folder_with_either_slash(tmp_path):
    image = write_image(tmp_path / "base" / "tiles" / "a.png")
    table = write_table(tmp_path / "base" / "key.csv", [f"p,{image},A,TRAIN,False", r"q,tiles\b.png,B,TRAIN,False"])
    other = write_image(tmp_path / "base" / "tiles" / "b.png")
    for patient, own in zip(read_tile_table(table), (image, other), strict=True):
        assert patient.images[0].samefile(own)
    elsewhere = write_table(
        tmp_path / "tables" / "key.csv", ["p,tiles/a.png,A,TRAIN,False", rf"q,{other},B,TRAIN,False"]
    )
    for patient, own in zip(read_tile_table(elsewhere, base=tmp_path / "base"), (image, other), strict=True):
        assert patient.images[0].samefile(own)
    assert not read_tile_table(elsewhere)[0].images[0].exists()
    odd = write_image(tmp_path / "base" / "a\\b.png")  # a backslash may be part of a name here
    assert image_path("a\\b.png", tmp_path / "base") == odd


@pytest.mark.parametrize(
    ("sets", "wanted"),
    [
        (("TRAIN", "VALID"), ("train", "test")),  # the 2021 notebook's held-out set
        (("train", "valid", "TEST"), ("train", "val", "test")),
        (("Train", "test"), ("train", "test")),
        (("TRAIN", "TRAIN"), ("train", "train")),
    ],
)
def test_the_tables_sets_are_kept(tmp_path, sets, wanted):
    rows = [f"p{index},{index}.png,A,{name},False" for index, name in enumerate(sets)]
    assert tuple(patient.set for patient in read_tile_table(write_table(tmp_path / "key.csv", rows))) == wanted


def test_is_valid_alone_makes_the_test_set_and_no_column_makes_none(tmp_path):
    rows = ["p,a.png,A,False", "q,b.png,B,TRUE"]
    table = write_table(tmp_path / "key.csv", rows, "patient_ID,Path,Label,is_valid")
    assert [patient.set for patient in read_tile_table(table)] == ["train", "test"]
    table = write_table(tmp_path / "key.csv", ["p,a.png,A", "q,b.png,B"], "patient_ID,Path,Label")
    assert [patient.set for patient in read_tile_table(table)] == ["", ""]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["p,a.png,A,TRAIN,False", "q,b.png,A,VALID,True", "p,c.png,A,VALID,True"],
            "patient p is in two sets: test, train",
        ),
        (["p,a.png,A,TRAIN,False", "p,b.png,,TRAIN,False"], "patient p is in two labels: , A"),
        (["p,a.png,,TRAIN,False"], "patient p has no label"),
        (["p/x,a.png,A,TRAIN,False"], "row 2: patient 'p/x' cannot be a file name"),
    ],
)
def test_faults_name_the_patient_or_the_row(tmp_path, rows, message):
    with pytest.raises(StudyError, match=message):
        read_tile_table(write_table(tmp_path / "key.csv", rows))


def test_missing_small_and_broken_images_are_named_and_the_rest_is_used(tmp_path):
    write_image(tmp_path / "whole.png")
    write_image(tmp_path / "small.png", side=200)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    rows = [f"p,{name}.png,A,TRAIN,False" for name in ("whole", "small", "broken", "absent")]
    (patient,) = read_tile_table(write_table(tmp_path / "key.csv", rows))
    images = usable_images(patient, 256)
    assert images.names == ["whole.png"]
    assert len(images.left_out) == 3
    for name, reason in zip(("absent", "broken", "small"), images.left_out, strict=True):
        assert f"{name}.png" in reason
    (tmp_path / "whole.png").unlink()
    with pytest.raises(SlideError, match=r"none of its 4 images .*absent.*broken.*small\.png is 200 x 200 px.*whole"):
        usable_images(patient, 256)


def test_images_of_one_name_keep_their_folder(tmp_path):
    for folder in ("a", "b"):
        write_image(tmp_path / folder / "1.png")
    rows = ["p,a/1.png,A,TRAIN,False", "p,b/1.png,A,TRAIN,False"]
    (patient,) = read_tile_table(write_table(tmp_path / "key.csv", rows))
    assert usable_images(patient, 256).names == ["a/1.png", "b/1.png"]


@pytest.mark.slow
def test_a_patient_without_images_fails_and_the_others_go_on(tmp_path, capsys):
    for index, name in enumerate(("a", "b")):
        write_image(tmp_path / "tiles" / f"{name}.png", seed=index)
    rows = ["p,tiles/a.png,A,TRAIN,False", "p,tiles/gone.png,A,TRAIN,False", "q,tiles/b.png,B,TRAIN,False"]
    rows += ["r,tiles/x.png,B,VALID,True", "r,tiles/y.png,B,VALID,True"]
    table = write_table(tmp_path / "tables" / "key.csv", rows)
    study = Study(tmp_path / "study")
    arguments = ["--study", str(study.root), "--tiles", str(table), "--images", str(tmp_path), "--workers", "1"]
    assert extract([*arguments, "--threads", "1"]) == 1
    out = capsys.readouterr().out
    for name in ("gone.png", "x.png", "y.png"):
        assert name in out
    assert read_feature_bag(study.feature_file(ENCODER, "p")).features.shape == (1, 1280)
    with (study.features(ENCODER) / "status.csv").open() as file:
        states = {row["slide_id"]: (row["state"], row["images_left_out"]) for row in csv.DictReader(file)}
    assert [state for state, _ in states.values()] == ["done", "done", "failed"]
    assert "gone.png" in states["p"][1]
    assert [line.split(",")[3] for line in study.cohort_table.read_text().splitlines()[1:]] == [
        "train",
        "train",
        "test",
    ]
    write_image(tmp_path / "tiles" / "gone.png", seed=7)  # found again: the bag is made anew
    assert extract([*arguments, "--threads", "1"]) == 1
    assert read_feature_bag(study.feature_file(ENCODER, "p")).features.shape == (2, 1280)


@pytest.mark.slow
def test_an_image_that_opens_but_is_cut_off_is_named_and_its_patient_goes_on(tmp_path, capsys):
    for index, name in enumerate(("whole", "cut", "alone")):
        image = np.random.default_rng(index).integers(0, 255, (512, 256, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"{name}.jpg")
    for name in ("cut", "alone"):
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    rows = ["p,whole.jpg,A,TRAIN,False", "p,cut.jpg,A,TRAIN,False", "q,alone.jpg,B,TRAIN,False"]
    table = write_table(tmp_path / "key.csv", rows)
    study = Study(tmp_path / "study")
    arguments = ["--study", str(study.root), "--tiles", str(table), "--workers", "1", "--threads", "1"]
    for _ in range(2):  # the second time the file is kept and says the same
        assert extract(arguments) == 1
        with (study.features(ENCODER) / "status.csv").open() as file:
            p, q = csv.DictReader(file)
        assert (p["state"], p["n_tiles"], p["n_unreadable"]) == ("done", "2", "2")
        assert p["images_left_out"] == "cut.jpg cannot be decoded"
        assert (q["state"], "none of its 2 tiles can be read" in q["reason"]) == ("failed", True)
    assert "p: left out: cut.jpg cannot be decoded" in capsys.readouterr().out
    bag = read_feature_bag(study.feature_file(ENCODER, "p"))
    names = json.loads(bag.attributes["images"])
    assert {names[index] for index in bag.image_index} == {"whole.jpg"}


def test_an_image_of_two_patients_is_named(tmp_path):
    rows = ["p,a.png,A,TRAIN,False", "q,sub/../a.png,B,VALID,True", "q,b.png,B,VALID,True"]
    (tmp_path / "sub").mkdir()
    with pytest.raises(StudyError, match=r"a\.png stands under two patients, p and q"):
        read_tile_table(write_table(tmp_path / "key.csv", rows))


def test_images_too_large_are_named_before_they_are_decoded(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", side=300)
    write_image(tmp_path / "b.png")
    (patient,) = read_tile_table(write_table(tmp_path / "key.csv", ["p,a.png,A,TRAIN,False", "p,b.png,A,TRAIN,False"]))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow would refuse them all
    monkeypatch.setattr(tile_table, "MAX_WHOLE_PX", 256 * 256)
    found = usable_images(patient, 256)
    assert found.names == ["b.png"]
    assert found.left_out == ("a.png is 300 x 300 px, more than 65,536 in all",)


def test_transparent_and_deep_images_are_read_as_slides_are(tmp_path, monkeypatch):
    grey = np.linspace(0, 65535, 256 * 256).reshape(256, 256).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    clear = np.zeros((256, 256, 4), np.uint8)
    clear[:128] = (200, 100, 50, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    for name in ("deep.png", "clear.png"):
        request = TileRequest(
            name="p", path=tmp_path / name, mpp=None, coords=np.array([[0, 0]]), tile_um=None, tile_px=256, colour=None
        )
        report = read_block(request, plan_reading(request))
        with open_slide(tmp_path / name, mpp=(0.5, 0.5)) as slide:
            assert np.array_equal(report.tiles[0], slide.read_area((0, 0), (256, 256), (256, 256)))

    def broken(_):
        raise SyntaxError("broken PNG file")

    monkeypatch.setattr(tile_reader, "rgb_pixels", broken)
    assert read_block(request, plan_reading(request)).unreadable.tolist() == [0]
