"""Folds side by side in worker processes: the bytes of one after the other, faults named, and as many as the machine bears."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mil.train import main as train
from mil.training import fold_crew
from mil.training.fold_crew import workers_for
from mil.training.training_settings import TrainConfig
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study
from tests.helpers.tiny_slides import difference

FAST = ["--epochs", "4", "--hidden", "16", "--attention", "8", "--bootstrap", "100", "--learning_rate", "0.01"]
LARGE = {"n_tiles": [4000] * 250, "n_inputs": 1280, "bag_bytes": 2_560_000_000, "n_folds": 15, "n_epochs": 30}


def config(**given):
    return TrainConfig(**given).with_widths(128)


def machine(monkeypatch, processors, gb):
    monkeypatch.setattr(fold_crew, "default_workers", lambda: processors)
    monkeypatch.setattr(fold_crew, "memory_gb", lambda: gb)


def test_as_many_workers_as_processors_folds_and_memory_allow(monkeypatch):
    machine(monkeypatch, 2, 24.0)
    assert workers_for(config(), **LARGE) == 2
    machine(monkeypatch, 64, None)
    assert workers_for(config(), **LARGE) == 15
    assert workers_for(config(threads=8), **LARGE) == 8
    machine(monkeypatch, 64, 64.0)  # 38.4 GB for this process and workers of 3.26 GB
    assert workers_for(config(), **LARGE) == 10
    assert workers_for(config(memory_gb=1.0), **LARGE) == 15  # 1.7 GB each: what does not fit is read again
    machine(monkeypatch, 64, 8.0)
    assert workers_for(config(), **LARGE) == 0  # one worker beside this process is no gain


def test_what_trains_in_a_minute_begins_no_worker(monkeypatch):
    machine(monkeypatch, 8, 64.0)
    small = LARGE | {"n_tiles": [20] * 60}
    assert workers_for(config(), **small) == 0
    assert workers_for(config(search=50), **small) == 8  # so many trainings of a fold
    assert workers_for(config(), **small | {"n_folds": 1500}) == 8
    assert workers_for(config(max_tiles=20), **LARGE) == workers_for(config(), **LARGE | {"n_tiles": [20] * 250})
    for given in (0, 1, 3):
        assert workers_for(config(workers=given), **LARGE) == given


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_feature_study(tmp_path_factory.mktemp("workers") / "study", n_patients=30)
    assert make_splits(["--study", str(study.root), "--folds", "3"]) == 0
    for task in ("subtype", "survival"):
        assert run(study, task, 0) == 0
    return study


def run(study, task, workers, *flags):
    more = ["--learning_curve", "0.5"] if task == "subtype" else []
    return train(["--study", str(study.root), "--task", task, *FAST, *more, "--workers", str(workers), *flags])


@pytest.fixture
def copied(study, tmp_path):
    shutil.copytree(study.root, tmp_path / "study")
    shutil.rmtree(tmp_path / "study" / "runs")
    return type(study)(tmp_path / "study")


@pytest.mark.slow
@pytest.mark.parametrize("task", ["subtype", "survival"])
def test_folds_side_by_side_leave_the_bytes_of_one_after_the_other(study, copied, task, monkeypatch):
    monkeypatch.setattr(
        "mil.training.cross_validation.fit", pytest.fail
    )  # here: not in a worker, which imports its own
    assert run(copied, task, 2) == 0
    assert not difference(copied.root, study.root, f"runs/{task}/default")
    assert "workers" not in (copied.run(task, "default") / "run.json").read_text()


@pytest.mark.slow
def test_a_fold_that_cannot_be_trained_by_a_worker_is_named_with_its_reason(copied, capsys):
    assert run(copied, "survival", 2, "--learning_rate", "1e-12") == 2
    assert "repeat 0, fold 0: the head learnt nothing" in capsys.readouterr().err
    assert not (copied.run("survival", "default") / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("who", ["all", "worker"])
def test_workers_that_are_killed_lose_nothing_but_their_folds(study, copied, root, who):
    run_folder = copied.run("survival", "default")
    command = [sys.executable, root / "mil" / "train.py", "--study", copied.root, "--task", "survival", *FAST]
    process = subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )  # fmt: skip
    while process.poll() is None and not list((run_folder / "models").glob("*.json")):
        time.sleep(0.01)
    if who == "all":
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    else:
        for worker in _workers_of(process.pid):
            os.kill(worker, signal.SIGKILL)
        told = process.communicate()[1]
        assert process.returncode in (0, 2), told
        assert process.returncode == 0 or "worker process died" in told
    assert run(copied, "survival", 2) == 0
    assert not difference(copied.root, study.root, "runs/survival/default")


def _workers_of(parent):
    """Return the processes that a parent spawned to work."""
    import psutil

    return [
        own.pid for own in psutil.Process(parent).children(recursive=True) if "spawn_main" in " ".join(own.cmdline())
    ]
