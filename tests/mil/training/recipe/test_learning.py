"""A head that did not learn is a failure with a name; no head of a first epoch passes for a result."""

import dataclasses

import numpy as np
import pytest

from common.failures import StudyError
from mil.heads.registry import HEADS
from mil.tasks.subtype import SUBTYPE
from mil.tasks.survival import SURVIVAL
from mil.training.fitting import fit
from mil.training.survival_task import SurvivalTargets
from tests.helpers.key_tile_bags import CONFIG, bag, classes_of, inputs, key_tile_bags


def survival(n=40, seed=0):
    rng = np.random.default_rng(seed)
    patients = [f"p{i:02d}" for i in range(n)]
    bags = {patient: bag(patient, rng.normal(size=(12, 12))) for patient in patients}
    times = {patient: float(rng.integers(1, 60)) for patient in patients}
    return bags, SurvivalTargets(times=times, events={patient: int(rng.random() < 0.6) for patient in patients})


def targets_of(name, labels, patients):
    if name == "subtype":
        return SUBTYPE.training, classes_of(labels)
    rng = np.random.default_rng(0)
    times, events = ({p: kind(rng.integers(1, 40)) for p in patients} for kind in (float, int))
    return SURVIVAL.training, SurvivalTargets(times=times, events={p: e % 2 for p, e in events.items()})


@pytest.mark.parametrize("name", ["subtype", "survival"])
@pytest.mark.parametrize("why", ["no step to speak of", "nothing to tell patients apart"])
def test_e6_a_head_that_did_not_move_is_a_failure_and_no_result(name, why):
    bags, labels, _ = key_tile_bags(24)
    patients = sorted(bags)
    config = dataclasses.replace(CONFIG, epochs=4)
    if why == "no step to speak of":
        config = dataclasses.replace(config, learning_rate=1e-12)
    else:
        bags = {patient: bag(patient, np.ones((5, 12))) for patient in patients}
    task, targets = targets_of(name, labels, patients)
    with pytest.raises(StudyError, match=r"the head learnt nothing: .* with the weights of epoch 4 of 4, .* untrained"):
        fit(task, inputs(bags, patients, [], targets, config), seed=[0])


def test_e6_a_dead_head_is_named_though_its_loss_fell(monkeypatch):
    """Weights so far out that no hidden unit is above 0: only the output's bias learns, and it says the same to everybody."""
    own = HEADS["gated_attention"].head
    monkeypatch.setattr(own, "prepare", lambda head, *_: head.project.bias.data.fill_(-1e3))
    bags, labels, _ = key_tile_bags(24)
    with pytest.raises(StudyError, match="the head learnt nothing: it says the same of every patient"):
        fit(SUBTYPE.training, inputs(bags, sorted(bags), [], classes_of(labels)), seed=[0])


@pytest.mark.parametrize("name", ["subtype", "survival"])
def test_e6_by_default_the_last_epoch_is_kept_and_nobody_is_held_back(name):
    bags, labels, _ = key_tile_bags(24)
    patients = sorted(bags)
    task, targets = targets_of(name, labels, patients)
    fitted = fit(task, inputs(bags, patients, [], targets), seed=[0])
    assert (fitted.stopped_by, fitted.best_epoch, len(fitted.history)) == ("fixed last epoch", 40, 40)
    assert fitted.trained_loss < fitted.untrained_loss


@pytest.mark.parametrize("name", ["subtype", "survival"])
def test_e6_inner_validation_never_keeps_an_epoch_before_half_of_the_schedule(name, monkeypatch):
    """A validation loss that rises from the first epoch on, as that of a head on a plateau does."""
    bags, labels, _ = key_tile_bags(24)
    patients = sorted(bags)
    task, targets = targets_of(name, labels, patients)
    own, rising = type(task).validation_loss, iter(range(1, 99))

    def validation_loss(self, head, fold):
        return own(self, head, fold) if not fold.train else float(next(rising))

    monkeypatch.setattr(type(task), "validation_loss", validation_loss)
    config = dataclasses.replace(CONFIG, epochs=20, patience=3)
    fitted = fit(task, inputs(bags, patients[:18], patients[18:], targets, config), seed=[0])
    assert (fitted.best_epoch, fitted.stopped_by, len(fitted.history)) == (10, "inner validation", 13)


def test_e6_the_loss_of_training_is_that_of_the_patients_by_themselves():
    from mil.training.packed import predict
    from mil.training.recipe.learning import loss_of_training
    from tests.helpers.efron import efron_loss

    bags, targets = survival()
    patients = sorted(bags)
    fold = inputs(bags, patients, [], targets)
    head = fit(SURVIVAL.training, fold, seed=[1]).head
    time, event = targets.of(patients)
    own = efron_loss(predict(head, bags.__getitem__, patients)[:, 0], time, event) * event.sum() / len(patients)
    assert loss_of_training(SURVIVAL.training, head, fold) == pytest.approx(own)


def test_the_losses_that_are_compared_are_of_the_same_few_tiles_of_all_slides():
    from mil.training.recipe.learning import looked_at, loss_of_training

    bags, labels, _ = key_tile_bags(6)
    patients, config = sorted(bags), dataclasses.replace(CONFIG, max_tiles=10)
    fold = inputs(bags, patients, [], classes_of(labels), config)
    few = {patient: looked_at(fold)(patient) for patient in patients}
    for patient, own in bags.items():
        n = len(own.tiles)
        assert (few[patient].tiles == own.tiles[[i * n // 10 for i in range(10)]]).all()
        assert len(few[patient].slide_of_tile) == len(few[patient].coords) == 10
    head = fit(SUBTYPE.training, fold, seed=[1]).head
    thin = inputs(few, patients, [], classes_of(labels), config)
    assert loss_of_training(SUBTYPE.training, head, fold) == loss_of_training(SUBTYPE.training, head, thin)
    assert (
        looked_at(inputs(bags, patients, [], classes_of(labels)))(patients[0]) is bags[patients[0]]
    )  # a small one is whole


def test_a_fit_passes_over_no_whole_bag_beyond_its_moments(monkeypatch):
    """Only tiles that a step draws, or that the losses look at, go through the head: bags of 40 tiles, 10 drawn."""
    bags, labels, _ = key_tile_bags(24)
    config, seen = dataclasses.replace(CONFIG, max_tiles=10, epochs=4), []
    own = HEADS["gated_attention"].head
    for name in ("of_bag", "of_bags"):
        monkeypatch.setattr(own, name, _noting(getattr(own, name), seen))
    fit(SUBTYPE.training, inputs(bags, sorted(bags), [], classes_of(labels), config), seed=[0])
    assert seen
    assert max(seen) == 10


def _noting(method, seen):
    def noted(head, given):
        seen.extend([len(given)] if hasattr(given, "dtype") else map(len, given))
        return method(head, given)

    return noted
