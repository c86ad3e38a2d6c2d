"""Names are one part of a path, for every command; folders behind links and files of others are never touched."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.failures import StudyError
from common.guards.names import MAX_BYTES, checked_name, name_fault
from common.guards.own_files import own_folder, remove_if_empty, remove_own_files
from features.convert_features import main as convert
from mil.evaluate import main as evaluate
from mil.train import main as train
from preprocessing.make_stain_reference import main as make_reference
from preprocessing.tiling.export_folder import RECORD, remove_export
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import ENCODER, make_feature_study

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training

WRONG = (
    "../../../victim", "..", ".", "", " ", "a/b", "a\\b", "/abs", ".hidden",
    "a\nb", "a\0b", "\x1b[31m", "\udce4", "CON", "nul.txt", "com1",
    "x" * 201, "ä" * 101, "a\u2028b",
)  # fmt: skip
RIGHT = ("default", "a b", "Ärzte", "timm_resnet50", "a.b", "..."[3:] + "x", "x" * MAX_BYTES, "con-1", "=1+1", "標本")


@pytest.mark.parametrize("name", WRONG)
def test_s2_a_name_is_one_part_of_a_path(name):
    with pytest.raises(StudyError, match="--name is one name, without folder and ending"):
        checked_name(name, "--name")


@pytest.mark.parametrize("name", RIGHT)
def test_s2_good_names_pass(name, tmp_path):
    assert checked_name(name, "--name") == name
    (tmp_path / f".{name}.safetensors.partial").touch()


@given(st.text(max_size=20))
def test_s2_what_passes_stays_in_its_folder(name):
    if not name_fault(name):
        assert Path("/study/runs", name).parts == ("/", "study", "runs", name)


@pytest.mark.parametrize("name", ["../../../victim", "", "a/b", "/tmp/x"])
def test_s2_every_command_refuses_a_name_that_leaves_its_folder(tmp_path, capsys, name):
    study = make_feature_study(tmp_path / "study", n_patients=6)
    victim = tmp_path / "victim" / "models"
    victim.mkdir(parents=True)
    (victim / "precious.txt").write_text("precious")
    flags = ["--study", str(study.root)]
    assert make_splits([*flags, "--folds", "2"]) == 0
    calls = [
        (train, ["--name", name]), (train, ["--splits", name]), (train, ["--encoder", name]), (evaluate, ["--name", name]),
        (make_splits, ["--name", name]), (make_reference, ["--name", name]),
        (convert, ["--encoder", name, "--to", "clam", "--out", str(tmp_path / "out")]),
    ]  # fmt: skip
    for command, own in calls:
        before = sorted(tmp_path.rglob("*"))
        assert command([*flags, *own]) == 2, own
        assert "is one name, without folder and ending" in capsys.readouterr().err, own
        assert sorted(tmp_path.rglob("*")) == before


def test_s2_training_writes_and_deletes_nothing_behind_a_link(tmp_path, capsys):
    study = make_feature_study(tmp_path / "study", n_patients=12)
    flags = ["--study", str(study.root), "--epochs", "2", "--bootstrap", "100"]
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("precious.txt", "repeat9_fold9.json"):
        (outside / name).write_text("precious")
    run = study.run("subtype", "default")
    run.mkdir(parents=True)
    for part in ("models", "figures", "learning_curve"):
        (run / part).symlink_to(outside, target_is_directory=True)
        assert train([*flags, "--learning_curve", "0.5"]) == 2, part
        assert f"{part} is a link" in " ".join(capsys.readouterr().err.split())
        (run / part).unlink()
        assert sorted(path.name for path in outside.rglob("*")) == ["precious.txt", "repeat9_fold9.json"]
    linked = study.run("subtype", "linked")
    linked.symlink_to(outside, target_is_directory=True)
    assert train([*flags, "--name", "linked"]) == 2
    assert "linked is a link" in capsys.readouterr().err
    assert sorted(path.name for path in outside.rglob("*")) == ["precious.txt", "repeat9_fold9.json"]


def test_s2_training_deletes_its_own_files_only(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=12)
    flags = ["--study", str(study.root), "--epochs", "2", "--bootstrap", "100"]
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    assert train([*flags, "--learning_curve", "0.5"]) == 0
    run = study.run("subtype", "default")
    own = [run / "models" / "repeat7_fold1.json", run / "figures" / "kaplan_meier.svg"]
    others = [
        run / "models" / "notes.txt", run / "models" / "mine.safetensors", run / "figures" / "mine.svg",
        run / "learning_curve" / "thoughts.txt", run / "learning_curve" / "0.5" / "notes.txt",
        run / "learning_curve" / "mine" / "a.txt",
    ]  # fmt: skip
    for path in [*own, *others]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    folder = run / "models" / "repeat8_fold1.json"
    folder.mkdir()  # a folder is none of our files
    assert train(flags) == 0
    assert not any(path.exists() for path in own)
    assert all(path.exists() for path in others)
    assert folder.is_dir()
    assert sorted(path.name for path in (run / "learning_curve" / "0.5").iterdir()) == ["notes.txt"]


def test_s2_own_files_go_and_links_are_not_followed(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / "own1").write_text("precious")
    (folder / "own1").symlink_to(outside / "own1")
    (folder / "own2").touch()
    (folder / "other").touch()
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    remove_own_files(tmp_path / "link", re.compile(r"own\d"))
    remove_if_empty(tmp_path / "link")
    assert len(list(folder.iterdir())) == 3
    remove_own_files(folder, re.compile(r"own\d"))
    assert [path.name for path in folder.iterdir()] == ["other"]
    assert (outside / "own1").read_text() == "precious"
    with pytest.raises(StudyError, match="link is a link"):
        own_folder(tmp_path / "link" / "below", below=tmp_path)
    with pytest.raises(StudyError, match="other is a file"):
        own_folder(folder / "other", below=tmp_path)
    assert own_folder(tmp_path / "a" / "b", below=tmp_path).is_dir()


def test_s2_a_side_file_from_elsewhere_deletes_nothing_of_others(tmp_path):
    study = make_feature_study(tmp_path / "study", n_patients=3)
    out, outside = tmp_path / "out", tmp_path / "outside"
    assert (
        convert(
            ["--study", str(study.root), "--encoder", ENCODER, "--to", "slideflow", "--mpp", "0.5", "--out", str(out)]
        )
        == 0
    )
    outside.mkdir()
    for path in (outside / "P00-0.h5", out / "precious.txt"):
        path.write_text("precious")
    (out / "link").symlink_to(outside, target_is_directory=True)
    side_file = out / "provenance" / "P00-0.json"
    record = json.loads(side_file.read_text())
    record["settings"], record["files"] = {}, {"precious.txt": "0", "link/P00-0.h5": "0", **record["files"]}
    side_file.write_text(json.dumps(record))
    assert (
        convert(
            ["--study", str(study.root), "--encoder", ENCODER, "--to", "slideflow", "--mpp", "0.5", "--out", str(out)]
        )
        == 0
    )
    assert (outside / "P00-0.h5").read_text() == (out / "precious.txt").read_text() == "precious"
    assert record["settings"] != json.loads(side_file.read_text())["settings"]


def test_s2_an_exported_folder_with_files_of_others_is_left(tmp_path):
    for name in ("own", "mixed"):
        (tmp_path / name).mkdir()
        for file in (RECORD, "S_x0_y512.jpg"):
            (tmp_path / name / file).write_text("{}")
    (tmp_path / "mixed" / "precious.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "own", target_is_directory=True)
    (tmp_path / ".own.old.partial").symlink_to(tmp_path / "mixed", target_is_directory=True)
    for name in ("mixed", "link"):
        remove_export(tmp_path / name)
    assert (tmp_path / "mixed" / "precious.txt").is_file()
    assert len(list((tmp_path / "own").iterdir())) == 2
    remove_export(tmp_path / "own")
    assert not (tmp_path / "own").exists()
    assert len(list((tmp_path / "mixed").iterdir())) == 3
