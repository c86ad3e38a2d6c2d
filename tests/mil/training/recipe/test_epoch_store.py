"""A training killed between two epochs goes on from its state to the same bytes; a state that does not fit is not used."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mil.heads.registry import make_head
from mil.runs.facts import Epoch
from mil.runs.run_folder import RunFolder
from mil.tasks.registry import TASKS
from mil.train import main as train
from mil.training import fitting
from mil.training.cross_validation import run_folds
from mil.training.preparation import prepare
from mil.training.recipe.epoch_store import EpochKeeper, Progress
from mil.training.training_settings import TrainConfig
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

pytestmark = pytest.mark.slow
CONFIG = TrainConfig(
    epochs=6, hidden=8, attention=4, threads=1, cross_fit=2, bootstrap=100, learning_rate=1e-2, save_seconds=0.0
)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_feature_study(tmp_path_factory.mktemp("resumed") / "study", n_patients=18)
    assert make_splits(["--study", str(study.root), "--folds", "2"]) == 0
    return study


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def kill_after(patch, n_epochs):
    """Let a training die once so many epochs have been trained in all."""
    whole, trained = fitting._next_epoch, []

    def dying(*given, **named):
        if len(trained) == n_epochs:
            raise KilledError
        trained.append(1)
        return whole(*given, **named)

    patch.setattr(fitting, "_next_epoch", dying)
    return trained


def run(study, folder, config):
    prepared = prepare(study, config, TASKS[config.task].training)
    run_folds(RunFolder(folder), prepared.plans[:1], prepared.inputs)
    return contents(folder)


@pytest.mark.parametrize(
    ("at", "changed"),
    [
        (0, {}), (1, {}), (6, {}), (8, {}), (17, {}), (4, {"task": "survival"}), (4, {"patience": 2, "cross_fit": 0}),
        (9, {"head": "prototypes"}), (4, {"task": "survival", "risk_set_patients": 0}),
    ],
)  # fmt: skip
def test_a_training_killed_after_any_epoch_goes_on_to_the_same_bytes(study, tmp_path, monkeypatch, at, changed):
    config = replace(CONFIG, **changed)
    whole = run(study, tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        kill_after(patch, at)
        with pytest.raises(KilledError):
            run(study, tmp_path / "killed", config)
    states = sorted(path.name for path in (tmp_path / "killed" / "models").glob("*"))
    assert len(states) == (at > 0) + (at > 6) + (at > 12)
    assert all(name.endswith(".state.safetensors") for name in states)
    with monkeypatch.context() as patch:
        trained = kill_after(patch, 10**6)
        assert run(study, tmp_path / "killed", config) == whole
    n_whole = len(json.loads(whole["repeat0_fold0.json"])["history"]) * (1 if "patience" in changed else 3)
    assert len(trained) == n_whole - at


def test_short_trainings_write_no_state_and_long_ones_now_and_then(study, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("mil.training.recipe.epoch_store._write", lambda path, *_: written.append(path.name))
    ticks = iter(range(0, 10**6, 25))
    keeper = EpochKeeper(path=tmp_path / "x", fingerprint="f", every_s=60, clock=lambda: next(ticks))
    head = make_head("mean_mlp", CONFIG, n_inputs=2, n_outputs=1)
    optimiser = torch.optim.AdamW(head.parameters())
    for _ in range(8):
        keeper.offer(Progress(), head, optimiser, np.random.default_rng(0), is_over=False)
    assert len(written) == 2
    written.clear()
    run(study, tmp_path / "run", replace(CONFIG, save_seconds=60.0))
    run(study, tmp_path / "never", replace(CONFIG, save_seconds=-1.0))
    assert not written


@pytest.mark.parametrize("damage", ["cut", "bit", "fold", "format", "empty"])
def test_a_state_that_is_damaged_or_of_something_else_is_not_used(study, tmp_path, monkeypatch, capsys, damage):
    whole = run(study, tmp_path / "whole", CONFIG)
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(KilledError):
            run(study, tmp_path / "killed", CONFIG)
    path = tmp_path / "killed" / "models" / "repeat0_fold0_model.state.safetensors"
    state = path.read_bytes()
    if damage == "cut":
        path.write_bytes(state[:-40])
    elif damage == "bit":
        path.write_bytes(state[:-40] + bytes([state[-40] ^ 1]) + state[-39:])
    elif damage == "fold":
        path.write_bytes(state.replace(b"fingerprint", b"fingerprinx"))
    elif damage == "format":
        save_file(load_file(path), path)
    else:
        path.write_bytes(b"")
    capsys.readouterr()
    with monkeypatch.context() as patch:
        trained = kill_after(patch, 10**6)
        assert run(study, tmp_path / "killed", CONFIG) == whole
    assert len(trained) == 18
    assert "is not gone on from" in capsys.readouterr().out


def test_other_settings_begin_anew(study, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(KilledError):
            run(study, tmp_path / "killed", CONFIG)
    other = replace(CONFIG, dropout=0.5)
    assert run(study, tmp_path / "killed", other) == run(study, tmp_path / "whole", other)
    assert "other settings, patients or features" in capsys.readouterr().out


def test_states_of_folds_that_are_no_longer_wanted_go_and_a_script_leaves_none(study, tmp_path):
    shutil.copytree(study.root, tmp_path / "study")
    models = tmp_path / "study" / "runs" / "subtype" / "default" / "models"
    models.mkdir(parents=True)
    (models / "repeat0_fold7_inner2.state.safetensors").write_bytes(b"x")
    (models / "mine.safetensors").write_bytes(b"x")
    flags = ["--epochs", "3", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"]
    assert train(["--study", str(tmp_path / "study"), *flags, "--save_seconds", "0"]) == 0
    assert sorted(path.name for path in models.glob("*.safetensors")) == [
        "mine.safetensors", "repeat0_fold0.safetensors", "repeat0_fold1.safetensors",
    ]  # fmt: skip


def test_progress_is_over_where_nothing_was_better_for_so_long():
    head = make_head("mean_mlp", CONFIG, n_inputs=2, n_outputs=1)
    progress = Progress()
    for epoch, loss in enumerate((3.0, 2.0, 2.0, 2.5), 1):
        assert not progress.is_over(9, 2)
        progress = progress.after(Epoch(epoch=epoch, train_loss=1.0, val_loss=loss), head, may_choose=True)
    assert (progress.best_epoch, progress.best_loss) == (2, 2.0)
    assert progress.is_over(9, 2)
    assert not progress.is_over(9, 0)
    assert progress.is_over(4, 0)
    assert all(value.equal(head.state_dict()[name]) for name, value in progress.best.items())
