"""The attention head, both losses in training, the two-pass Cox gradient, and model files."""

import dataclasses

import numpy as np
import pytest
import torch
from pytest import approx
from sklearn.metrics import roc_auc_score

from features.store.provenance import Provenance
from mil.heads.registry import head_named, make_head
from mil.metrics.concordance import c_index
from mil.runs.model_file import read_model, write_model
from mil.tasks.subtype import SUBTYPE
from mil.tasks.survival import SURVIVAL
from mil.training.fitting import fit
from mil.training.packed import predict, standardise
from mil.training.survival_task import SurvivalTargets, cohort_gradient
from tests.helpers.key_tile_bags import CONFIG, bag, classes_of, inputs, key_tile_bags


def new_head(n_outputs=3, **options):
    return make_head(CONFIG.head, dataclasses.replace(CONFIG, **options), n_inputs=12, n_outputs=n_outputs)


def test_standardisation_comes_from_training_patients_alike():
    bags = {
        "a": bag("a", np.full((100, 12), 2.0)),
        "b": bag("b", np.full((1, 12), 4.0)),
        "test": bag("t", np.full((9, 12), 99)),
    }
    head = new_head(dropout=0.0)
    standardise(head, bags.__getitem__, ["a", "b"])
    assert head.mean.numpy() == approx(np.full(12, 3.0))
    assert head.inverse_std.numpy() == approx(np.full(12, 1.0))


def test_two_pass_cox_gradient_equals_autograd_over_all_bags():
    rng = np.random.default_rng(1)
    patients = [f"p{i}" for i in range(14)]
    bags = {patient: bag(patient, rng.normal(size=(int(rng.integers(3, 9)), 12))) for patient in patients}
    times = {patient: float(rng.integers(1, 6)) for patient in patients}
    events = {patient: int(rng.integers(0, 2)) for patient in patients} | {"p0": 1}
    torch.manual_seed(2)
    head = new_head(n_outputs=1, dropout=0.0).double()
    config = dataclasses.replace(CONFIG, batch_patients=4, dropout=0.0)
    # in float32 as the product runs it
    head = head.float().train()
    targets = SurvivalTargets(times=times, events=events)
    loss = cohort_gradient(head, inputs(bags, patients, [], targets, config), np.zeros((14, 2), np.int64))
    ours = [p.grad.clone() for p in head.parameters()]
    head.zero_grad()
    risks = torch.cat(
        [
            head(
                torch.from_numpy(bags[p].tiles.astype(np.float32)),
                torch.zeros(len(bags[p].tiles), dtype=torch.int64),
                1,
            )[0]
            for p in patients
        ]
    ).double()
    time, event = torch.tensor([times[p] for p in patients]), torch.tensor([events[p] for p in patients])
    total = torch.zeros((), dtype=torch.float64)
    for moment in time[event == 1].unique():
        dead = (time == moment) & (event == 1)
        for rank in range(int(dead.sum())):
            risk = risks[time >= moment].exp().sum() - rank / dead.sum() * risks[dead].exp().sum()
            total = total + risk.log()
        total = total - risks[dead].sum()
    total = total / event.sum()
    total.backward()
    assert loss == approx(float(total.detach()), rel=1e-5)
    for own, parameter in zip(ours, head.parameters(), strict=True):
        assert own.numpy() == approx(parameter.grad.numpy(), abs=2e-6, rel=1e-3)


def test_dropout_is_the_same_in_both_passes(monkeypatch):
    bags, _, _ = key_tile_bags(9)
    patients = sorted(bags)
    seen = []
    head_class = head_named(CONFIG.head).head
    original = head_class.forward

    def spy(self, tiles, owner, n):
        out = original(self, tiles, owner, n)
        seen.append(out.detach().clone())
        return out

    monkeypatch.setattr(head_class, "forward", spy)
    head = new_head(n_outputs=1, dropout=0.5).train()
    targets = SurvivalTargets(times=dict.fromkeys(patients, 1.0) | {"p00": 2.0}, events=dict.fromkeys(patients, 1))
    config = dataclasses.replace(CONFIG, batch_patients=4)
    seeds = np.random.default_rng(0).integers(99, size=(9, 2))
    cohort_gradient(head, inputs(bags, patients, [], targets, config), seeds)
    assert len(seen) == 6
    for first, second in zip(seen[:3], seen[3:], strict=True):
        assert torch.equal(first, second)


def test_subtype_is_learnt_and_attention_finds_the_key_tiles():
    bags, labels, keys = key_tile_bags()
    patients = sorted(bags)
    train, val, test = patients[:24], patients[24:33], patients[33:]
    fitted = fit(SUBTYPE.training, inputs(bags, train, val, classes_of(labels)), seed=[0])
    assert fitted.stopped_by == "epoch limit"
    outputs = predict(fitted.head, bags.__getitem__, test)
    assert (outputs.argmax(axis=1) == [labels[p] for p in test]).mean() > 0.8
    aurocs = []
    for patient in test:
        weights = fitted.head.attention(torch.from_numpy(bags[patient].tiles.astype(np.float32))).detach().numpy()
        aurocs.append(roc_auc_score(keys[patient], weights))
    assert np.median(aurocs) > 0.9


def test_e5_training_that_ran_all_its_epochs_was_not_stopped_by_validation():
    bags, labels, _ = key_tile_bags(24)
    patients = sorted(bags)
    wrong = {patient: (label + (patient in patients[18:])) % 3 for patient, label in labels.items()}
    for own, epochs, stopped_by in ((labels, 2, "epoch limit"), (wrong, 40, "inner validation")):
        config = dataclasses.replace(CONFIG, epochs=epochs, patience=2)
        fitted = fit(SUBTYPE.training, inputs(bags, patients[:18], patients[18:], classes_of(own), config), seed=[0])
        assert fitted.stopped_by == stopped_by
        assert (len(fitted.history) == epochs) == (stopped_by == "epoch limit")


def test_shuffled_labels_are_not_learnt():
    bags, labels, _ = key_tile_bags(60)
    patients = sorted(bags)
    hits = []
    for seed in range(4):
        shuffled = dict(
            zip(patients, np.random.default_rng(seed).permutation([labels[p] for p in patients]), strict=True)
        )
        targets = classes_of({p: int(v) for p, v in shuffled.items()})
        config = dataclasses.replace(CONFIG, epochs=10)
        fitted = fit(SUBTYPE.training, inputs(bags, patients[:36], patients[36:42], targets, config), seed=[seed])
        outputs = predict(fitted.head, bags.__getitem__, patients[42:])
        hits += [labels_ == shuffled[p] for labels_, p in zip(outputs.argmax(axis=1), patients[42:], strict=True)]
    assert 0.15 < np.mean(hits) < 0.52  # chance is 0.33, 72 guesses


@pytest.mark.slow
def test_survival_is_learnt_with_and_without_validation_part():
    rng = np.random.default_rng(4)
    patients = [f"p{i:03d}" for i in range(150)]
    risk = {p: float(rng.normal()) for p in patients}
    bags = {p: bag(p, rng.normal(size=(15, 12)) + np.eye(12)[2] * 1.5 * risk[p]) for p in patients}
    times = {p: float(np.ceil(20 * rng.exponential() * np.exp(-1.5 * risk[p]))) for p in patients}
    events = {p: int(rng.random() < 0.7) for p in patients}
    targets = SurvivalTargets(times=times, events=events)
    for val, stopped_by in ((patients[72:92], "epoch limit"), ([], "fixed last epoch")):
        fitted = fit(SURVIVAL.training, inputs(bags, patients[:72], val, targets), seed=[1])
        test = patients[92:]
        log_hazard = predict(fitted.head, bags.__getitem__, test)[:, 0]
        assert fitted.stopped_by == stopped_by
        assert fitted.best_epoch <= 40
        assert c_index(log_hazard, np.array([times[p] for p in test]), np.array([events[p] for p in test])) > 0.65


def test_two_trainings_and_their_files_are_the_same_bytes(tmp_path):
    bags, labels, _ = key_tile_bags(18)
    patients = sorted(bags)
    config = dataclasses.replace(CONFIG, epochs=3, max_tiles=10)
    for name in ("one", "two"):
        fold = inputs(bags, patients[:12], patients[12:], classes_of(labels), config)
        fitted = fit(SUBTYPE.training, fold, seed=[7])
        write_model(tmp_path / name, fitted.head, {"encoder": {"encoder": "x"}, "task": "subtype"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    model = read_model(tmp_path / "one")
    assert predict(model.head, bags.__getitem__, patients) == approx(predict(fitted.head, bags.__getitem__, patients))
    assert model.attention(bags["p00"].tiles).sum() == approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="encoder 'x', these have 'y'"):
        model.check_features(Provenance(encoder="y"))


def test_files_that_are_no_models_are_refused(tmp_path):
    from safetensors.numpy import save_file

    (tmp_path / "text").write_text("hello")
    save_file({"a": np.zeros(1)}, tmp_path / "other")
    for name, message in (("text", "not a readable model file"), ("other", "format None, not model/3")):
        with pytest.raises(ValueError, match=message):
            read_model(tmp_path / name)
