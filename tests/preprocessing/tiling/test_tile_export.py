"""Exported tiles: normalised by the slide's map, named in a table that extract_features reads, whole or made again."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.failures import SlideError, StudyError
from common.slide_files import file_fingerprint
from common.study import Study
from features.embedding.tile_table import read_tile_table
from preprocessing.colour.colour_map import apply_map
from preprocessing.colour.stain import NO_STAIN, REFERENCE, stain_map
from preprocessing.export_tiles import main as export
from preprocessing.reading.slide import open_slide, read_tile
from preprocessing.synthetic.scanner import write_pyramid
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.study_export import export_study, sets_of_patients
from preprocessing.tiling.tile_export import chosen_tiles
from preprocessing.tiling.tile_store import read_slide_tiles, write_slide_tiles
from preprocessing.tiling.tiling_settings import ExportConfig
from tests.helpers.painted_stains import painted_patches, some_fit

SLIDES = (("P1", "A-1", "LMS", "train"), ("P1", "A-2", "LMS", "train"), ("P2", "B-1", "UPS", "test"))
COORDS = np.array([[0, 0], [256, 0], [0, 256], [256, 256]])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("export") / "study")
    rows = ["patient_id,slide_id,subtype,set"]
    for number, (patient, slide_id, subtype, chosen) in enumerate(SLIDES):
        rows.append(f"{patient},{slide_id},{subtype},{chosen}")
        fit, path = some_fit(number), study.slides / f"{slide_id}.tif"
        parts = painted_patches(fit.matrix, np.random.default_rng(number), n_patches=16, side=144)
        image = np.vstack([np.hstack(parts[row * 4 : row * 4 + 4]) for row in range(4)])
        write_pyramid(path, image, 0.5)
        tiles = SlideTiles(
            slide_id=slide_id, coords=COORDS, tissue_fraction=np.ones(4, np.float32), mpp_x=0.5, mpp_y=0.5,
            mpp_source="file", tile_um=128.0, tile_px=256, slide_width=576, slide_height=576, tissue_mm2=0.1, stain=fit,
            slide_fingerprint=file_fingerprint(path), settings="{}", piece=np.ones(4, np.int32), n_pieces=1,
            stride_um=128.0, tissue_source="segmented", tissue_fingerprint="",
        )  # fmt: skip
        write_slide_tiles(study.tile_file(slide_id), tiles)
    study.cohort_table.write_text("\n".join(rows) + "\n")
    return study


@pytest.fixture
def study(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "study")
    return Study(tmp_path / "study")


def run(study, out, *flags):
    return export(["--study", str(study.root), "--out", str(out), "--workers", "0", *flags])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def key_of(out):
    with (out / "key.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_the_table_has_the_notebook_s_form_and_is_read_as_a_tile_table(study, tmp_path):
    out = tmp_path / "out"
    assert run(study, out) == 0
    rows = key_of(out)
    assert rows[0] == ["patient_ID", "Path", "Label", "training_set", "is_valid"]
    assert rows[1] == ["P1", "P1/A-1/A-1_x0_y0.jpg", "LMS", "TRAIN", "False"]
    assert rows[-1] == ["P2", "P2/B-1/B-1_x256_y256.jpg", "UPS", "VALID", "True"]
    patients = read_tile_table(out / "key.csv")
    assert [(p.patient_id, p.subtype, p.set, len(p.images)) for p in patients] == [
        ("P1", "LMS", "train", 8),
        ("P2", "UPS", "test", 4),
    ]
    for patient in patients:
        for path in patient.images:
            with Image.open(path) as image:
                assert (image.format, image.size) == ("JPEG", (256, 256))


@pytest.mark.parametrize("normalise", ["true", "false"])
def test_png_tiles_are_the_mapped_pixels(study, tmp_path, normalise):
    out = tmp_path / "out"
    assert run(study, out, "--format", "png", "--normalise", normalise) == 0
    tiles = read_slide_tiles(study.tile_file("A-2"))
    with open_slide(study.slides / "A-2.tif") as slide:
        tile = read_tile(slide, 256, 0, tile_um=128.0, tile_px=256)
    wanted = apply_map(tile, stain_map(tiles.stain, REFERENCE)) if normalise == "true" else tile
    assert np.array_equal(np.asarray(Image.open(out / "P1" / "A-2" / "A-2_x256_y0.png")), wanted)


def test_two_runs_give_the_same_bytes_and_damage_is_made_good(study, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for out in (one, two):
        assert run(study, out, "--max_tiles", "3") == 0
    assert contents(one) == contents(two)
    cut, gone = two / "P1" / "A-1" / "A-1_x0_y0.jpg", two / "P2" / "B-1" / "B-1_x0_y256.jpg"
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    kept = (two / "P1" / "A-2" / "A-2_x0_y0.jpg").stat().st_mtime_ns
    assert run(study, two, "--max_tiles", "3") == 0
    assert contents(one) == contents(two)
    assert (two / "P1" / "A-2" / "A-2_x0_y0.jpg").stat().st_mtime_ns == kept
    assert run(study, two) == 0  # other settings: made anew
    assert len(key_of(two)) == 1 + 12


def test_sets_come_from_a_fold(study, tmp_path, capsys):
    splits = tmp_path / "folds.csv"
    splits.write_text("repeat,fold,patient_id,set\n0,0,P1,test\n0,0,P2,train\n0,1,P1,val\n0,1,P2,test\n1,0,P1,train\n")
    out = tmp_path / "out"
    assert run(study, out, "--splits", str(splits), "--fold", "0") == 0
    assert {(row[0], *row[3:]) for row in key_of(out)[1:]} == {("P1", "VALID", "True"), ("P2", "TRAIN", "False")}
    assert run(study, out, "--splits", str(splits), "--fold", "1") == 0
    assert {(row[0], *row[3:]) for row in key_of(out)[1:]} == {("P1", "TRAIN", "False"), ("P2", "VALID", "True")}
    assert run(study, out, "--splits", str(splits), "--fold", "7") == 2
    assert "0/0, 0/1, 1/0" in capsys.readouterr().err
    assert run(study, out, "--splits", str(splits), "--repeat", "1") == 1  # P2 is in no set of it
    assert "patient P2 is not in fold 0" in " ".join(capsys.readouterr().out.split())
    assert {row[0] for row in key_of(out)[1:]} == {"P1"}


def test_without_sets_the_table_has_none(study, tmp_path):
    study.cohort_table.write_text("patient_id,slide_id,subtype\n" + "".join(f"{p},{s},{t}\n" for p, s, t, _ in SLIDES))
    assert run(study, tmp_path / "out") == 0
    assert key_of(tmp_path / "out")[0] == ["patient_ID", "Path", "Label"]


def test_failures_are_named_and_the_rest_is_done(study, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(study, out) == 0
    study.tile_file("A-1").write_bytes(b"no HDF5")
    write_pyramid(study.slides / "B-1.tif", np.full((600, 600, 3), 200, np.uint8), 0.5)  # another slide now
    assert run(study, out) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "A-1: " in shown
    assert "not a complete HDF5 file" in shown
    assert "B-1.tif is not the file its tiles were made from" in shown
    assert {row[1].split("/")[1] for row in key_of(out)[1:]} == {"A-2"}
    assert not (out / "P1" / "A-1").exists()
    assert "failed" in (out / "status.csv").read_text()


def test_a_reinhard_slide_needs_a_reference_with_lab(study, tmp_path, capsys):
    tiles = read_slide_tiles(study.tile_file("A-1"))
    write_slide_tiles(study.tile_file("A-1"), replace(tiles, stain=some_fit(5, "reinhard")))
    assert run(study, tmp_path / "out") == 0
    reference = tmp_path / "old.json"
    reference.write_text(
        '{"schema": "stain_reference/2", "name": "old", "pink": [0.3, 0.9, 0.4], "matrix": [[0.6, 0.7, 0.2], [0.3, 0.8, 0.4]], '
        '"p99": [2, 1], "lab": null}'
    )
    assert run(study, tmp_path / "out", "--stain_reference", str(reference)) == 1
    assert "CIELAB" in capsys.readouterr().out


def test_chosen_tiles_are_spread_evenly():
    assert chosen_tiles(4, None) == chosen_tiles(4, 9) == [0, 1, 2, 3]
    assert chosen_tiles(100, 4) == [12, 37, 62, 87]
    assert len(set(chosen_tiles(1000, 999))) == 999


def test_a_kill_while_an_old_export_goes_costs_nothing(study, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(study, out) == 0

    def killed(folder, **_):
        if Path(folder).is_dir():
            next(path for path in Path(folder).iterdir() if path.name == "record.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        assert run(study, out, "--format", "png") == 130
    assert run(study, out, "--format", "png") == 0
    assert {path.suffix for path in out.rglob("A-1_*")} == {".png"}
    assert not list(out.rglob("*.partial"))


def test_a_folder_of_somebody_else_is_left_and_named(study, tmp_path, capsys):
    (tmp_path / "out" / "P1" / "A-1").mkdir(parents=True)
    (tmp_path / "out" / "P1" / "A-1" / "notes.txt").write_text("mine")
    assert run(study, tmp_path / "out") == 1
    assert "was not exported" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "out" / "P1" / "A-1" / "notes.txt").read_text() == "mine"


def test_the_value_of_an_export_counts_tiles_and_slides_and_says_whether_there_are_sets(study, tmp_path):
    config = ExportConfig(out=tmp_path / "out", workers=0, max_tiles=3)
    found = export_study(study, config)
    assert (found.n_tiles, found.n_done, found.has_sets) == (9, 3, True)
    assert (found.key_file, found.status_file) == (tmp_path / "out" / "key.csv", tmp_path / "out" / "status.csv")
    assert [status.slide_id for status in found.statuses] == ["A-1", "A-2", "B-1"]
    rows = "".join(f"{p},{s},{t}\n" for p, s, t, _ in SLIDES)
    study.cohort_table.write_text(f"patient_id,slide_id,subtype\n{rows}P9,Z-9,SS\nP3,Z-1,\n")
    shutil.copy(study.slides / "A-1.tif", study.slides / "Z-1.tif")
    found = export_study(study, config)
    assert (found.n_tiles, found.n_done, found.has_sets) == (9, 3, False)
    failures = {status.slide_id: status.reason for status in found.statuses if status.state == "failed"}
    assert set(failures) == {"Z-1", "Z-9"}
    assert failures["Z-1"] == "it has no subtype to be its label"
    study.cohort_table.write_text("patient_id,slide_id\nP1,A-1\n")
    with pytest.raises(StudyError, match=r"no column subtype, which key\.csv gives as Label"):
        export_study(study, config)


def test_the_sets_are_those_of_the_fold_or_of_the_table(tmp_path):
    path = tmp_path / "folds.csv"
    patients = pd.DataFrame({"subtype": ["x", "y"]}, index=["a", "b"])
    assert sets_of_patients(patients, None, repeat=0, fold=0) is None
    assert sets_of_patients(patients.assign(set=["train", "test"]), None, repeat=0, fold=0) == {
        "a": "train",
        "b": "test",
    }
    with pytest.raises(StudyError, match="no table of folds at"):
        sets_of_patients(patients, path, repeat=0, fold=0)
    path.write_text("repeat,fold,patient_id,set\n0,0,a,val\n0,1,a,test\n1,0,a,train\n1,0,b,test\n")
    assert sets_of_patients(patients, path, repeat=1, fold=0) == {"a": "train", "b": "test"}
    assert sets_of_patients(patients, path, repeat=0, fold=1) == {"a": "test"}
    with pytest.raises(StudyError, match=r"no fold 1 of repeat 1; it has \(repeat/fold\) 0/0, 0/1, 1/0"):
        sets_of_patients(patients, path, repeat=1, fold=1)
    path.write_text("repeat,fold,patient_id,set\n0,0,a,val\n0,0,b,z\n0,0,c,dev\n")
    with pytest.raises(StudyError, match="set dev, z is not train, val or test"):
        sets_of_patients(patients, path, repeat=0, fold=0)
    path.write_text("repeat,patient_id\n0,a\n")
    with pytest.raises(StudyError, match="no column fold, set; wanted repeat, fold, patient_id, set"):
        sets_of_patients(patients, path, repeat=0, fold=0)


@pytest.mark.parametrize(("n_tiles", "most", "wanted"), [(3, 3, [0, 1, 2]), (4, 3, [0, 2, 3]), (5, 1, [2]), (0, 2, [])])
def test_as_many_tiles_as_wanted_are_all_of_them(n_tiles, most, wanted):
    assert chosen_tiles(n_tiles, most) == wanted


def test_a_slide_without_stain_fit_is_exported_as_scanned_and_one_that_cannot_be_read_fails(
    study, tmp_path, monkeypatch
):
    tiles = read_slide_tiles(study.tile_file("A-1"))
    write_slide_tiles(study.tile_file("A-1"), replace(tiles, stain=NO_STAIN))
    config = ExportConfig(out=tmp_path / "out", workers=0, format="png")
    assert export_study(study, config).statuses[0].figures["stain"] == "none"
    with open_slide(study.slides / "A-1.tif") as slide:
        tile = read_tile(slide, 256, 0, tile_um=128.0, tile_px=256)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "P1" / "A-1" / "A-1_x256_y0.png")), tile)
    record = json.loads((tmp_path / "out" / "P1" / "A-1" / "record.json").read_text())
    assert record["made_of"]["stain_reference"] == "none"
    assert record["made_of"]["n_wanted"] == 4

    def unread(slide, x, y, **given):
        if (x, y) != (0, 0) or unread.all:
            raise SlideError("no", "none")
        return read_tile(slide, x, y, **given)

    monkeypatch.setattr("preprocessing.tiling.tile_export.read_tile", unread)
    for is_all, wanted in ((False, (1, 3)), (True, None)):
        unread.all = is_all
        status = export_study(study, replace(config, out=tmp_path / f"out{is_all}")).statuses[0]
        if wanted:
            assert (status.figures["n_tiles"], status.figures["n_unreadable"]) == wanted
        else:
            assert status.reason == "none of its 4 tiles can be read"
