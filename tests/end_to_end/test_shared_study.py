"""Several runs on one study: each slide and fold is made once, parts make the whole, and the bytes are those of one run."""

import shutil
import signal
import time

import cv2
import numpy as np
import pytest

from tests.helpers.tiny_slides import (
    EXTRACT,
    PREDICT,
    SPLIT,
    TILE,
    TRAIN,
    difference,
    ended,
    logged,
    make_tiny_study,
    run,
    started,
)

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training

MADE_BY = {
    "tiles": ("preprocessing.tiling.tiling_job.tile_open_slide", (*TILE, "--workers", "0")),
    "features": ("features.embedding.loop.write_logged_bag", EXTRACT),
    "runs": ("mil.training.cross_validation.train_fold", TRAIN),
}
PARTS = ("tiles", "features", "runs")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a study that one run made after the other, with a slide that is none; and its slides alone."""
    study = make_tiny_study(tmp_path_factory.mktemp("whole") / "study", 12)
    (study / "slides" / "S07.tif").write_bytes(b"no slide")
    slides = shutil.copytree(study, study.parent / "slides" / "study")
    run(*TILE, "--workers", "1", "--study", study, code=1)
    run(*EXTRACT, "--study", study, code=1)
    run(*SPLIT, "--study", study)
    run(*TRAIN, "--study", study)
    return study, slides


def up_to(whole, tmp_path, part):
    """Return a copy of the study as it is before a part is made."""
    study, slides = whole
    own = shutil.copytree(slides, tmp_path / "study")
    for before in PARTS[: PARTS.index(part)]:
        shutil.copytree(study / before, own / before)
    if part == "runs":
        shutil.copytree(study / "splits", own / "splits")
    return own


@pytest.mark.parametrize("part", PARTS)
def test_two_runs_at_once_make_different_slides_and_folds_and_leave_what_one_leaves(whole, tmp_path, part):
    study = up_to(whole, tmp_path, part)
    logs = [tmp_path / "one", tmp_path / "other"]
    place, command = MADE_BY[part]
    both = [logged(log, place, command, "--study", study, slow_s=0.5) for log in logs]
    told = [ended(process) for process in both]
    code = 0 if part == "runs" else 1
    assert [own[0] for own in told] == [code, code], told
    assert difference(whole[0], study, part) == []
    assert not (study / ".claims").exists()
    made = [log.read_text().split() if log.is_file() else [] for log in logs]
    assert len(made[0]) + len(made[1]) == len({*made[0], *made[1]})
    assert all(made), "both made some"


@pytest.mark.parametrize("part", PARTS)
def test_what_a_killed_run_held_the_next_one_makes(whole, tmp_path, part):
    study = up_to(whole, tmp_path, part)
    place, command = MADE_BY[part]
    process = logged(tmp_path / "log", place, command, "--study", study, slow_s=0.5)
    wanted = 1 if part == "runs" else 3
    for _ in range(600):
        if (tmp_path / "log").is_file() and len((tmp_path / "log").read_text().split()) >= wanted:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    ended(process)
    assert (study / ".claims").is_dir()
    run(*command, "--study", study, code=0 if part == "runs" else 1)
    assert difference(whole[0], study, part) == []
    assert not (study / ".claims").exists()


def test_ctrl_c_leaves_no_claim(whole, tmp_path):
    study = up_to(whole, tmp_path, "tiles")
    process = logged(tmp_path / "log", *MADE_BY["tiles"], "--study", study, slow_s=0.5)
    while not (tmp_path / "log").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    assert list((study / ".claims").iterdir())
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 130
    assert not (study / ".claims").exists()


def test_a_table_of_images_goes_in_parts_too(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name in "abcdef":
        cv2.imwrite(str(images / f"{name}.png"), rng.integers(100, 255, (300, 300, 3)).astype(np.uint8))
    lines = ["patient_ID,Path,Label", *(f"P{name},{name}.png,LMS" for name in "abcdef"), "Pg,g.png,LMS"]
    (images / "key.csv").write_text("\n".join(lines) + "\n")
    one, parts = tmp_path / "one", tmp_path / "parts"
    run(*EXTRACT, "--tiles", images / "key.csv", "--study", one, code=1)
    for number in (2, 1):
        code, told = ended(started(*EXTRACT, "--tiles", images / "key.csv", "--study", parts, "--shard", f"{number}/2"))
        assert code in (0, 1), told
    assert difference(one, parts) == []


@pytest.mark.parametrize("part", ["tiles", "features"])
def test_the_parts_of_shards_are_the_whole_to_the_byte(whole, tmp_path, part):
    study = up_to(whole, tmp_path, part)
    text = (study / "cohort.csv").read_text().splitlines()
    command = MADE_BY[part][1]
    for number in (3, 1, 2):
        table = text[:1] + (text[1:] if number == 1 else text[:0:-1])  # the order of the rows says nothing
        (study / "cohort.csv").write_text("\n".join(table) + "\n")
        assert ended(started(*command, "--study", study, "--shard", f"{number}/3"))[0] in (0, 1)
    assert difference(whole[0], study, part) == []


def test_all_shards_at_once_lose_no_row(whole, tmp_path):
    study = up_to(whole, tmp_path, "tiles")
    command = MADE_BY["tiles"][1]
    parts = [started(*command, "--study", study, "--shard", f"{number}/3") for number in (1, 2, 3)]
    assert {ended(part)[0] for part in parts} == {0, 1}
    assert difference(whole[0], study, "tiles") == []


def test_the_last_shard_of_a_prediction_finds_all_and_predicts_as_one_run_does(whole, tmp_path):
    model = (
        "--model",
        whole[0] / "runs" / "subtype" / "default" / "model.safetensors",
        "--slides",
        whole[1] / "slides",
    )
    run(*PREDICT, *model, "--out", tmp_path / "one", code=1)
    told = run(*PREDICT, *model, "--out", tmp_path / "parts", "--shard", "1/2")
    assert "of other parts are missing, and nothing was predicted yet" in told
    assert not (tmp_path / "parts" / "predictions.csv").exists()
    run(*PREDICT, *model, "--out", tmp_path / "parts", "--shard", "2/2", code=1)
    assert difference(tmp_path / "one", tmp_path / "parts") == []


def test_a_training_with_other_settings_is_kept_off(whole, tmp_path):
    study = up_to(whole, tmp_path, "runs")
    place, command = MADE_BY["runs"]
    process = logged(tmp_path / "log", place, command, "--study", study, slow_s=4.0)
    while not (tmp_path / "log").is_file():
        assert process.poll() is None
        time.sleep(0.1)
    told = run(*command, "--seed", "3", "--study", study, code=2)
    assert "is running on" in told
    assert "with other settings" in told
    assert ended(process)[0] == 0
