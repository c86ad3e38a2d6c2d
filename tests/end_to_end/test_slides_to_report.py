"""The whole pipeline on a small synthetic study: every step killed and run again, files damaged, slides that are none."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from common.arrays import read_attributes
from common.study import Study
from features.extract_features import main as extract
from mil.train import main as train
from preprocessing.make_demo_study import main as make_demo
from preprocessing.synthetic.scanner import write_pyramid
from preprocessing.synthetic.slide_and_truth import read_truth_mask
from preprocessing.tile_slides import main as tile
from preprocessing.tiling.tile_store import read_slide_tiles
from preprocessing.tissue.overview_mask import OVERVIEW_MPP
from splits.make_splits import main as make_splits

ENCODER = "efficientnet_lite0"
DEMO_FLAGS = [
    "--patients",
    "10",
    "--seed",
    "1311",
]  # few slides and small ones, and yet both scales, pen, folds, a pale one
FAST = ["--epochs", "8", "--hidden", "32", "--bootstrap", "100"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("kept_networks")]


@pytest.fixture(scope="module")
def study(tmp_path_factory, kept_networks):
    root = tmp_path_factory.mktemp("demo") / "study"
    assert make_demo(["--study", str(root), *DEMO_FLAGS]) == 0
    (root / "study.yaml").write_text("tile_slides:\n  tile_um: 512\n")  # a quarter of the tiles to embed
    assert tile(["--study", str(root)]) == 0
    assert extract(["--study", str(root)]) == 0
    assert make_splits(["--study", str(root), "--folds", "2"]) == 0
    assert train(["--study", str(root), "--task", "subtype", *FAST]) == 0
    return Study(root)


@pytest.fixture
def copied(study, tmp_path):
    shutil.copytree(study.root, tmp_path / "study", copy_function=os.link)  # slides are only read
    return Study(tmp_path / "study")


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def on_one_line(text):
    return " ".join(text.split())


def drop(path):
    """Remove without touching the other copy (the files are hard links)."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_every_step_leaves_what_it_says(study):
    slides = sorted(path.stem for path in study.slides.glob("*.tif"))
    assert len(slides) > 10
    for slide in slides:
        assert study.tile_file(slide).is_file()
        assert json.loads(study.outline_file(slide).read_text())["features"]
        assert (study.previews / f"{slide}.jpg").is_file()
        assert study.feature_file(ENCODER, slide).is_file()
    report = study.run("subtype", "default") / "report.html"
    assert "Research use only" in report.read_text()


def test_tissue_and_stains_come_near_the_truth(study):
    dices, angles = [], []
    for path in sorted(study.tiles.glob("*.h5")):
        tiles, truth_file = read_slide_tiles(path), study.truth / f"{path.stem}.json"
        truth = read_truth_mask(truth_file, "tissue", OVERVIEW_MPP) & ~read_truth_mask(truth_file, "pen", OVERVIEW_MPP)
        dices.append(
            abs(tiles.tissue_mm2 / (truth.mean() * tiles.slide_width * tiles.slide_height * tiles.mpp_x**2 / 1e6) - 1)
        )
        painted = np.array(json.loads(truth_file.read_text())["stain_matrix"])
        angles.append(np.degrees(np.arccos(np.clip((tiles.stain.matrix * painted).sum(axis=1), -1, 1))))
    assert np.median(dices) < 0.05
    assert np.median(angles) < 5


STEPS = {
    "make_demo_study": ("preprocessing/make_demo_study.py", DEMO_FLAGS, ["slides", "truth"], "slides/*.tif"),
    "tile_slides": ("preprocessing/tile_slides.py", [], ["tiles"], "tiles/*.h5"),
    "extract_features": ("features/extract_features.py", [], ["features"], "features/*/*.h5"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_step_run_again_ends_with_the_same_bytes(study, copied, root, step):
    script, flags, folders, first_output = STEPS[step]
    for folder in folders:
        drop(copied.root / folder)
    command = [sys.executable, str(root / script), "--study", str(copied.root), *flags]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **quiet)
    while process.poll() is None and len(list(copied.root.glob(first_output))) < 2:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # the script and its workers
    process.wait()
    assert len(list(copied.root.glob(first_output))) < len(list(study.root.glob(first_output)))
    subprocess.run(command, check=True, **quiet)
    for folder in folders:
        assert contents(copied.root / folder) == contents(study.root / folder)


def test_truncated_files_are_noticed_and_made_again(study, copied, capfd):
    slide = sorted(path.stem for path in study.tiles.glob("*.h5"))[0]
    tile_file, feature_file = copied.tile_file(slide), copied.feature_file(ENCODER, slide)
    for path in (tile_file, feature_file):
        half = path.read_bytes()[: path.stat().st_size // 2]
        path.unlink()
        path.write_bytes(half)
    assert extract(["--study", str(copied.root)]) == 1
    assert "not a complete HDF5 file" in on_one_line(capfd.readouterr().out)
    assert not feature_file.exists()  # what cannot be proven whole is not left for training
    assert tile(["--study", str(copied.root)]) == 0
    assert "not a complete HDF5 file" in on_one_line(capfd.readouterr().out)  # why it was made again
    assert tile_file.is_file()
    assert extract(["--study", str(copied.root)]) == 0
    assert contents(copied.tiles) == contents(study.tiles)
    assert contents(copied.root / "features") == contents(study.root / "features")


def test_changed_settings_make_tiles_and_features_anew(copied):
    slide = sorted(path.stem for path in copied.tiles.glob("*.h5"))[0]
    n_before = len(read_slide_tiles(copied.tile_file(slide)).coords)
    assert tile(["--study", str(copied.root), "--min_tissue", "0.9"]) == 0
    assert len(read_slide_tiles(copied.tile_file(slide)).coords) < n_before
    old = read_attributes(copied.feature_file(ENCODER, slide))["tile_fingerprint"]
    assert extract(["--study", str(copied.root)]) == 0
    assert read_attributes(copied.feature_file(ENCODER, slide))["tile_fingerprint"] != old


def test_slides_that_are_none_are_named_and_the_rest_is_done(study, tmp_path, capsys):
    bad = Study(tmp_path / "bad")
    bad.slides.mkdir(parents=True)
    good = min(study.slides.glob("*.tif"), key=lambda path: path.stat().st_size)
    shutil.copy(good, bad.slides / "good.tif")
    (bad.slides / "text.svs").write_text("<html>not found</html>")
    (bad.slides / "cut.tif").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    glass = np.random.default_rng(0).integers(236, 243, (1500, 2000, 3), dtype=np.uint8)
    write_pyramid(bad.slides / "glass.tif", glass, 0.5)
    tifffile.imwrite(bad.slides / "no_scale.tif", glass, tile=(256, 256), photometric="rgb")
    write_pyramid(bad.slides / "stranger.tif", glass, 0.5)
    names = ["good", "text", "cut", "glass", "no_scale", "missing"]
    rows = "".join(f"p{index},{name}\n" for index, name in enumerate(names))
    bad.cohort_table.write_text("patient_id,slide_id\n" + rows)
    assert tile(["--study", str(bad.root), "--workers", "1"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    for part in (
        "6 of 7 slides failed",
        "text: text.svs is no slide",
        "cut: more than 20% of the slide cannot be read",
        "glass: no tissue found",
        "no_scale: the file does not say how many µm a pixel is (mpp); give the true value in a column mpp",
        "missing: the table has this slide, but there is no such file",
        "stranger: stranger.tif has no row in the clinical table",
    ):
        assert part in out
    assert sorted(path.name for path in bad.tiles.glob("*.h5")) == ["good.h5"]
    assert not list(bad.root.rglob("*.partial"))
    status = (bad.tiles / "status.csv").read_text().splitlines()
    assert len(status) == 8
    assert extract(["--study", str(bad.root), "--workers", "1"]) == 1
    assert sorted(path.name for path in bad.features(ENCODER).glob("*.h5")) == ["good.h5"]


def test_an_exchanged_slide_is_noticed(copied, capsys):
    slides = sorted(copied.slides.glob("*.tif"))
    content = slides[1].read_bytes()
    slides[0].unlink()
    slides[0].write_bytes(content)
    assert extract(["--study", str(copied.root)]) == 1
    assert "is not the file its tiles were made from" in " ".join(capsys.readouterr().out.split())


def test_a_mpp_column_wins_over_the_file(study, tmp_path):
    other = Study(tmp_path / "other")
    other.slides.mkdir(parents=True)
    slide = min(study.slides.glob("*.tif"), key=lambda path: path.stat().st_size)
    shutil.copy(slide, other.slides / "s.tif")
    other.cohort_table.write_text("patient_id,slide_id,mpp\np,s,0.4\n")
    assert tile(["--study", str(other.root), "--mpp", "0.3", "--workers", "1"]) == 0
    tiles = read_slide_tiles(other.tile_file("s"))
    assert (tiles.mpp_x, tiles.mpp_y, tiles.mpp_source) == (0.4, 0.4, "cohort table")


def test_real_slides_go_through_to_features(shared_data, tmp_path):
    real = Study(tmp_path / "real")
    real.slides.mkdir(parents=True)
    scales = {"case14_dsrct_half": "0.6", "granular_cell_tumor_half": "0.6", "TCGA-CR-7395-01A-01-TS1": "0.5"}
    expected = {
        "CMU-1-Small-Region": 8,
        "TCGA-CR-7395-01A-01-TS1": 35,
        "case14_dsrct_half": 510,
        "granular_cell_tumor_half": 743,
    }
    rows = []
    for index, path in enumerate(sorted((shared_data / "slides").iterdir())):
        if path.stem in expected:
            (real.slides / path.name).symlink_to(path)
            rows.append(f"p{index},{path.stem},{scales.get(path.stem, '')}\n")
    real.cohort_table.write_text("patient_id,slide_id,mpp\n" + "".join(rows))
    assert tile(["--study", str(real.root)]) == 0
    n_tiles = {path.stem: len(read_slide_tiles(path).coords) for path in real.tiles.glob("*.h5")}
    assert n_tiles.keys() == expected.keys()
    for name, count in expected.items():
        assert abs(n_tiles[name] - count) <= max(2, 0.05 * count), name
    assert extract(["--study", str(real.root)]) == 0
    assert len(list(real.features(ENCODER).glob("*.h5"))) == 4


def test_the_tile_table_of_the_2021_notebook_trains(shared_data, tmp_path, capsys):
    study = Study(tmp_path / "study")
    table = Path(shared_data / "sarcoma_tiles" / "key.csv")
    assert extract(["--study", str(study.root), "--tiles", str(table)]) == 0
    assert len(list(study.features(ENCODER).glob("*.h5"))) == 5
    assert train(["--study", str(study.root), "--task", "subtype", *FAST]) == 0
    assert "NOTHING WAS EVALUATED" in capsys.readouterr().out
