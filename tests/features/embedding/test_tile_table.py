"""Tables of tile images: every habit of paths and sets, and the images that cannot be used."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from common.failures import SlideError, StudyError
from common.study import Study
from features.embedding import tile_table
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.tile_fields import field_corners, field_side, unused_pixels
from features.embedding.tile_images import check_images_are_there, image_notes
from features.embedding.tile_table import image_path, read_tile_table, survey_images, usable_images
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
        (
            [f"{name},{name}{number}.png,A,{('TRAIN', 'VALID')[number]},False" for name in "rpq" for number in (0, 1)],
            r"(?s)patient p is .*patient q is .*patient r is in two sets: test, train",
        ),
        (["p,a.png,,TRAIN,False"], "patient p has no label"),
        (["p/x,a.png,A,TRAIN,False"], "row 2: patient 'p/x' cannot be a file name"),
    ],
)
def test_faults_name_the_patient_or_the_row(tmp_path, rows, message):
    with pytest.raises(StudyError, match=message):
        read_tile_table(write_table(tmp_path / "key.csv", rows))


def test_missing_small_and_broken_images_are_named_and_the_rest_is_used(tmp_path):
    write_image(tmp_path / "whole.png")
    write_image(tmp_path / "small.png", side=100)
    (tmp_path / "broken.png").write_bytes(b"nothing")
    rows = [f"p,{name}.png,A,TRAIN,False" for name in ("whole", "small", "broken", "absent")]
    (patient,) = read_tile_table(write_table(tmp_path / "key.csv", rows))
    images = usable_images(patient, 256)
    assert images.names == ["whole.png"]
    assert len(images.left_out) == 3
    for name, reason in zip(("absent", "broken", "small"), images.left_out, strict=True):
        assert f"{name}.png" in reason
    (tmp_path / "whole.png").unlink()
    with pytest.raises(
        SlideError,
        match=r"none of its 4 images .*2 images are not there.*absent.*whole.*broken.*small\.png is 100 x 100 px",
    ):
        usable_images(patient, 256)


def test_two_missing_images_are_one_reason_that_names_both(tmp_path):
    write_image(tmp_path / "whole.png")
    rows = [f"p,{name}.png,A,TRAIN,False" for name in ("whole", "gone", "away")]
    (patient,) = read_tile_table(write_table(tmp_path / "key.csv", rows))
    (reason,) = usable_images(patient, 256).left_out
    assert reason == f"2 images are not there: {tmp_path / 'away.png'}, {tmp_path / 'gone.png'}"


def test_t13_fields_lie_over_the_whole_image_and_what_is_unused_is_counted():
    assert field_corners(1024, 512, 512).tolist() == [[0, 0], [512, 0]]
    assert field_corners(224, 224, 224).tolist() == [[0, 0]]
    # 417 holds one field and 161 px: a second one, which shares 95 px; of 312 the middle
    assert field_corners(417, 312, 256).tolist() == [[0, 28], [161, 28]]
    assert unused_pixels(417, 312, 256) == 417 * (312 - 256)
    assert field_corners(589, 453, 256).tolist() == [[26, 0], [307, 0], [26, 197], [307, 197]]
    assert unused_pixels(589, 453, 256) == (589 - 512) * 453


@given(st.integers(32, 700), st.integers(32, 700), st.integers(32, 300))
def test_fields_are_whole_even_and_never_share_more_than_half(width, height, side):
    side = field_side(width, height, side)
    corners = field_corners(width, height, side)
    assert (corners >= 0).all()
    assert (corners + side <= (width, height)).all()
    assert len(np.unique(corners, axis=0)) == len(corners)
    used = np.zeros((height, width), dtype=bool)
    for x, y in corners.tolist():
        used[y : y + side, x : x + side] = True
    assert unused_pixels(width, height, side) == (~used).sum()
    for axis, length in ((0, width), (1, height)):
        starts = np.unique(corners[:, axis])
        assert (np.diff(starts) >= side / 2 - 1).all()
        before, behind = starts[0], length - side - starts[-1]
        assert abs(int(before) - int(behind)) <= 1
        assert max(before, behind) < side / 2  # nowhere does half a field lie idle


def test_t13_a_field_smaller_than_wanted_is_the_whole_short_side_scaled_up(tmp_path):
    write_image(tmp_path / "a.png", side=224)
    (patient,) = read_tile_table(write_table(tmp_path / "key.csv", ["p,a.png,A,TRAIN,False"]))
    images = usable_images(patient, 256)
    assert (images.names, images.left_out, len(images.upscaled(256)), images.unused_share(256)) == (["a.png"], (), 1, 0)
    assert not images.upscaled(224)
    side = field_side(224, 224, 256)
    request = TileRequest(
        name="p", path=tmp_path / "a.png", mpp=None, coords=field_corners(224, 224, side), tile_um=None, tile_px=256,
        field_px=side, colour=None,
    )  # fmt: skip
    (tile,) = read_block(request, plan_reading(request)).tiles
    wanted = Image.open(tmp_path / "a.png").resize((256, 256), Image.Resampling.BICUBIC)
    assert np.array_equal(tile, np.asarray(wanted))


def test_t13_notes_are_a_line_a_cause_over_all_bags(tmp_path):
    for name, side in (("a", 224), ("b", 250), ("c", 300)):
        write_image(tmp_path / "tiles" / "x" / f"{name}.png", side=side)
    rows = [f"{name},tiles/x/{name}.png,A,TRAIN,False" for name in "abc"]
    rows += [f"p{index},x/{name}.png,A,TRAIN,False" for index in range(4) for name in (f"u{index}", f"v{index}")]
    (tmp_path / "more" / "x").mkdir(parents=True)
    for index in range(4):
        write_image(tmp_path / "more" / "x" / f"u{index}.png")
    table = write_table(tmp_path / "key.csv", rows)
    images = {patient.bag_id: survey_images(patient, 256) for patient in read_tile_table(table)}
    missing, scaled, unused = image_notes(images, 256, tmp_path)
    assert "and 3 more (all stand in status.csv)" in missing
    assert f"4 of these 8 are in {tmp_path / 'more'}: give --images {tmp_path / 'more'}" in missing
    assert "2 of 3 images are smaller than a field of 256 px (shorter side 224 to 250 px" in scaled
    assert "of 1 bag(s) a part of the pixels lies in no field" in unused
    assert f"{1 - 256**2 / 300**2:.0%} (c)" in unused


def test_a_table_without_any_image_is_one_fault_that_names_the_folder(tmp_path):
    write_image(tmp_path / "images" / "a.png")
    table = write_table(tmp_path / "key.csv", ["p,a.png,A,TRAIN,False", "q,b.png,B,TRAIN,False"])
    paths = [path for patient in read_tile_table(table) for path in patient.images]
    with pytest.raises(StudyError, match=f"none of the table's 2 images is there.*{tmp_path}/images: give --images"):
        check_images_are_there(paths, tmp_path)
    other = write_table(tmp_path / "other.csv", ["p,C:\\x\\a.png,A,TRAIN,False"])
    paths = [path for patient in read_tile_table(other) for path in patient.images]
    with pytest.raises(StudyError, match=r"write the paths in the table as images/a\.png"):
        check_images_are_there(paths, tmp_path)


def test_t14_slides_of_a_table_are_bags_with_labels_of_their_own(tmp_path):
    header = "patient_ID,slide_id,Path,Label,training_set"
    table = write_table(
        tmp_path / "key.csv", ["p,s1,a.png,A,TRAIN", "p,s2,b.png,B,TRAIN", "q,t1,c.png,B,valid"], header
    )
    bags = read_tile_table(table)
    assert [(own.patient_id, own.bag_id, own.subtype, own.set) for own in bags] == [
        ("p", "s1", "A", "train"), ("p", "s2", "B", "train"), ("q", "t1", "B", "test"),
    ]  # fmt: skip
    for row, fault in (
        ("q,s1,d.png,A,VALID", "slide s1 is of two patients, p and q"),
        ("p,s1,d.png,B,TRAIN", "slide s1 is in two labels"),
        ("p,,d.png,B,TRAIN", "row 4: no slide"),
        ("p,s3,d.png,B,VALID", "patient p is in two sets"),
    ):
        bad = write_table(tmp_path / "bad.csv", ["p,s1,a.png,A,TRAIN", "p,s2,b.png,B,TRAIN", row], header)
        with pytest.raises(StudyError, match=fault):
            read_tile_table(bad)
    with pytest.raises(StudyError, match="unit: slide"):
        read_tile_table(write_table(tmp_path / "two.csv", ["p,a.png,A,TRAIN,False", "p,b.png,B,TRAIN,False"]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"scales": "128,256"}, "--scales goes with slides, not with a table of tile images"),
        ({"hed_copies": 2, "where": "site == 'A'"}, "--where, --hed_copies goes with slides"),
        ({"stain_reference": Path("a.json")}, "name a --stain"),
        ({"tiles": None, "stain": "macenko"}, "slides get theirs by tile_slides.py"),
        ({"tiles": None, "field_px": 224}, "--field_px goes with a table of tile images"),
        ({"field_px": 8}, "--field_px is a number of pixels from 32 to 4096, got 8"),
    ],
)
def test_settings_of_slides_and_of_tile_tables_do_not_mix(flags, message):
    with pytest.raises(ValueError, match=message):
        ExtractionConfig(**({"tiles": Path("key.csv")} | flags))


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


@pytest.mark.slow
def test_a_tables_colours_are_mapped_on_wish_and_small_images_stand_in_the_status(tmp_path, capsys, shared_data):
    rows = []
    for number, (name, size) in enumerate((("LMS_1_TRAIN_01", (417, 312)), ("SS_1_TRAIN_01", (224, 224)))):
        (source,) = (shared_data / "sarcoma_tiles").glob(f"{name}.jpg")
        Image.open(source).crop((0, 0, *size)).save(tmp_path / f"{name}.png")
        rows.append(f"p{number},{name}.png,{name[:2]},TRAIN,False")
    table = write_table(tmp_path / "key.csv", rows)
    made = {}
    for stain in ("none", "macenko"):
        study = Study(tmp_path / stain)
        flags = [
            "--study",
            str(study.root),
            "--tiles",
            str(table),
            "--workers",
            "1",
            "--threads",
            "1",
            "--stain",
            stain,
        ]
        assert extract(flags) == 0
        made[stain] = read_feature_bag(study.feature_file(ENCODER, "p0"))
        assert extract(flags) == 0  # kept: nothing says otherwise
        assert "made again" not in capsys.readouterr().out
        with (study.features(ENCODER) / "status.csv").open() as file:
            p0, p1 = csv.DictReader(file)
        assert (p0["n_tiles"], p0["n_images_scaled_up"], p0["unused_share"]) == ("2", "0", "0.1795")
        assert (p1["n_tiles"], p1["n_images_scaled_up"], p1["unused_share"]) == ("1", "1", "0.0")
    assert made["none"].attributes["stain"] == "none"
    assert made["macenko"].attributes["stain"] == "normalised"
    assert made["macenko"].attributes["stain_fit"] == "macenko"
    assert not np.array_equal(made["none"].features, made["macenko"].features)
