"""A head with a log-odds for each interval of time: intervals of training patients alone, its steps, what it predicts, refusals."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from pytest import approx

from common.failures import StudyError
from mil.heads.registry import HEADS, make_head
from mil.metrics.concordance import c_index
from mil.survival.discrete_hazard import cumulative_hazard, exposure_of, hazards, intervals_of
from mil.survival.prognosis import prognosis_of
from mil.tasks.survival import SURVIVAL
from mil.training.fitting import fit
from mil.training.packed import predict
from mil.training.time_to_event.interval_steps import interval_risks, log_odds_of
from mil.training.time_to_event.survival_targets import SurvivalTargets
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan
from tests.helpers.key_tile_bags import CONFIG, bag, inputs

OWN = dataclasses.replace(CONFIG, task="survival", loss="logistic_hazard", intervals=4, dropout=0.0, batch_patients=8)
TASK = SURVIVAL.training.with_settings(OWN)


def cohort(n=30, seed=0, **more):
    rng = np.random.default_rng(seed)
    patients = [f"p{number:02d}" for number in range(n)]
    bags = {patient: bag(patient, rng.normal(size=(6, 12))) for patient in patients}
    targets = SurvivalTargets(
        times={patient: float(rng.integers(1, 40)) for patient in patients},
        events={patient: int(number % 3 != 0) for number, patient in enumerate(patients)}, n_intervals=4, **more,
    )  # fmt: skip
    return bags, patients, targets


@pytest.fixture
def fold():
    bags, patients, targets = cohort()
    return inputs(bags, patients[:24], patients[24:], targets, OWN)


def new_head(n_outputs):
    torch.manual_seed(0)
    return make_head(OWN.head, OWN, n_inputs=12, n_outputs=n_outputs)


def likelihood(head, fold, targets, patients):
    """Return each patient's negative log-likelihood by torch's own cross-entropy."""
    own = targets.intervals
    time, event = fold.targets.of(patients)
    exposure = exposure_of(time, event, own.ends)
    logits = torch.stack([head.of_bag(torch.from_numpy(fold.read(p).tiles)) for p in patients]) + torch.tensor(own.base)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.tensor(exposure.event, dtype=logits.dtype), reduction="none"
    )
    return (losses * torch.tensor(exposure.at_risk)).sum(dim=1)


def test_intervals_are_those_of_the_training_patients_whatever_the_others_are(fold):
    own = fold.targets.learnt_of(fold.train)
    time, event = fold.targets.of(fold.train)
    wanted = intervals_of(time, event, 4)
    assert own.intervals.ends.tolist() == wanted.ends.tolist()
    assert TASK.n_outputs(own) == len(wanted.ends) == 3  # 16 events carry three
    times, events = dict(fold.targets.times), dict(fold.targets.events)
    for patient in fold.val:
        times[patient], events[patient] = 1000.0, 1
    changed = dataclasses.replace(fold.targets, times=times, events=events).learnt_of(fold.train)
    assert changed.intervals.ends.tolist() == wanted.ends.tolist()
    assert changed.intervals.base.tolist() == wanted.base.tolist()
    assert own.learnt_of(fold.val) is own  # once learnt they stay


def test_an_epoch_is_a_step_a_batch_along_the_gradient_of_torchs_cross_entropy(fold):
    own = fold.targets.learnt_of(fold.train)
    whole = dataclasses.replace(fold, config=dataclasses.replace(OWN, batch_patients=24))
    head, twin = new_head(3).train(), new_head(3).train()
    loss = TASK.train_epoch(head, torch.optim.SGD(head.parameters(), lr=0.1), whole, np.random.default_rng(0))
    wanted = likelihood(twin, fold, own, fold.train).mean()
    assert loss == approx(wanted.item(), rel=1e-5)
    wanted.backward()
    torch.nn.utils.clip_grad_norm_(twin.parameters(), 5.0)
    torch.optim.SGD(twin.parameters(), lr=0.1).step()
    for one, other in zip(head.parameters(), twin.parameters(), strict=True):
        assert one.detach().numpy() == approx(other.detach().numpy(), abs=2e-6)


def test_the_loss_of_validation_is_that_of_its_patients_in_the_intervals_of_training(fold):
    head = new_head(3)
    own = fold.targets.learnt_of(fold.train)
    assert TASK.validation_loss(head, fold) == approx(likelihood(head, fold, own, fold.val).mean().item(), rel=1e-5)
    alone = dataclasses.replace(fold, train=(), val=fold.train, targets=own)
    assert TASK.validation_loss(head, alone) == approx(likelihood(head, fold, own, fold.train).mean().item(), rel=1e-5)
    with torch.no_grad():
        for weights in head.parameters():
            weights.fill_(float("inf"))
    assert np.isnan(TASK.validation_loss(head, fold))
    assert np.isnan(TASK.train_epoch(head, torch.optim.SGD(head.parameters(), lr=0.1), fold, np.random.default_rng(0)))


def test_weights_count_and_who_came_late_counts_from_then_on():
    bags, patients, targets = cohort()
    weights = {patient: float(number % 3) for number, patient in enumerate(patients)}
    entries = {patient: 0.5 * targets.times[patient] for patient in patients}
    fold = inputs(bags, patients, [], dataclasses.replace(targets, weights=weights, entries=entries), OWN)
    own = fold.targets.learnt_of(patients)
    (time, event), weight = fold.targets.of(patients), np.array([weights[p] for p in patients])
    wanted = intervals_of(time, event, 4, entry=0.5 * time, weight=weight)
    assert own.intervals.ends.tolist() == wanted.ends.tolist()
    assert own.intervals.base == approx(wanted.base)
    doubled = [patient for patient in patients for _ in range(int(weights[patient]))]
    head = new_head(len(wanted.ends))
    weighted = dataclasses.replace(fold, train=(), val=patients, targets=own)
    repeated = dataclasses.replace(fold, train=(), val=doubled, targets=dataclasses.replace(own, weights={}))
    assert TASK.validation_loss(head, weighted) == approx(TASK.validation_loss(head, repeated), rel=1e-9)


def test_a_head_that_says_nothing_says_what_the_life_table_does(fold):
    own = fold.targets.learnt_of(fold.train)
    said = hazards(log_odds_of(np.zeros((2, 3)), own))
    time, event = fold.targets.of(fold.train)
    exposure = exposure_of(time, event, own.intervals.ends)
    assert said[0] == approx((exposure.event.sum(axis=0) + 0.5) / (exposure.at_risk.sum(axis=0) + 1))


def test_predictions_have_the_log_odds_of_every_interval_and_the_record_says_what_they_are(fold):
    plan = FoldPlan(repeat=1, fold=2, train=tuple(fold.train), val=tuple(fold.val[:2]), test=tuple(fold.val[2:]))
    head = new_head(3).eval()
    found = TASK.predict_fold(head, fold.read, plan, fold.targets)
    own = fold.targets.learnt_of(plan.train)
    said = log_odds_of(predict(head, fold.read, plan.test), own)
    assert [[row[f"log_odds_{k}"] for k in (1, 2, 3)] for row in found.predictions] == approx(said)
    assert [row["log_hazard"] for row in found.predictions] == approx(
        np.log(np.cumsum(np.log1p(np.exp(said)), axis=1).mean(axis=1))
    )
    assert "log_odds_1" not in found.training[0]
    assert found.scale.intervals.ends == approx(own.intervals.ends)
    assert found.scale.intervals.base == approx(own.intervals.base)
    risks = interval_risks(predict(head, fold.read, plan.train), own)
    assert (found.scale.mean, found.scale.sd) == approx((risks.mean(), risks.std()))
    assert TASK.prediction_columns(fold.targets)[9:] == ["log_odds_1", "log_odds_2", "log_odds_3", "log_odds_4"]
    assert TASK.scaled_by_held_out(found, [found]).scale.intervals == found.scale.intervals


@pytest.mark.parametrize("name", sorted(name for name in HEADS if ":" not in name))
def test_every_head_learns_intervals(name):
    bags, patients, targets = cohort(n=24)
    config = dataclasses.replace(OWN, head=name, epochs=2)
    fold = inputs(bags, patients, [], targets, config)
    fitted = fit(TASK, fold, seed=[0])
    assert fitted.trained_loss < fitted.untrained_loss
    assert predict(fitted.head, fold.read, patients).shape == (24, 3)
    assert TASK.epochs_for(24, config) == 30


def test_one_event_makes_one_interval_and_what_cannot_be_learnt_is_refused():
    _, patients, targets = cohort(n=12)
    one = dataclasses.replace(targets, events={p: int(p == "p04") for p in patients})
    assert len(one.learnt_of(patients).intervals) == 1
    plan = FoldPlan(repeat=0, fold=1, train=tuple(patients), val=(), test=())
    assert TASK.check_plan(one, plan) is None
    with pytest.raises(StudyError, match="no event among its training patients"):
        TASK.check_plan(dataclasses.replace(targets, events=dict.fromkeys(patients, 0)), plan)
    at_once = dataclasses.replace(targets, times=dict.fromkeys(patients, 0.0))
    with pytest.raises(StudyError, match=r"repeat 0, fold 1: --loss logistic_hazard: .*after time 0.*give --loss cox"):
        TASK.check_plan(at_once, plan)
    by_cox = dataclasses.replace(at_once, n_intervals=0)
    assert SURVIVAL.training.check_plan(by_cox, plan) is None  # Cox has no intervals


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            {"strata": "site"},
            "--strata site compares patients inside a stratum.*leave --strata out, or give --loss cox",
        ),
        ({"ridge": 2.0}, "--ridge 2 is the penalty of Cox regression.*leave --ridge out"),
        ({"intervals": 0}, "--intervals is a number from 1, got 0"),
    ],
)
def test_settings_that_are_coxs_alone_are_refused_beside_it(setting, words):
    with pytest.raises(ValueError, match=words):
        TrainConfig(task="survival", loss="logistic_hazard", **setting)
    if "intervals" not in setting:
        TrainConfig(task="survival", **setting)


def crossing(seed, n):
    """Half die early or not at all, half late: hazards cross at 10, and the tiles tell who is which."""
    rng = np.random.default_rng(seed)
    bags, times, events, truth = {}, {}, {}, {}
    for number in range(n):
        patient, is_early = f"p{number:03d}", number % 2 == 0
        tiles = rng.normal(size=(12, 8))
        tiles[:6, 0] += 3 if is_early else -3
        bags[patient] = bag(patient, tiles)
        early, late = (0.09, 0.004) if is_early else (0.004, 0.12)
        needed = rng.exponential()
        died = needed / early if needed < 10 * early else 10 + (needed - 10 * early) / late
        end = rng.uniform(15, 60)
        times[patient], events[patient] = float(min(died, end)), int(died <= end)
        truth[patient] = (early, late)
    return bags, SurvivalTargets(times=times, events=events), truth


def test_hazards_that_cross_are_learnt_where_cox_cannot():
    bags, targets, truth = crossing(0, 200)
    patients = sorted(bags)
    train, test = patients[:120], patients[120:]
    moments = np.linspace(1, 30, 30)
    true = np.array(
        [np.exp(-a * np.minimum(moments, 10) - b * np.maximum(moments - 10, 0)) for a, b in (truth[p] for p in test)]
    )
    errors = {}
    for loss in ("cox", "logistic_hazard"):
        config = TrainConfig(task="survival", loss=loss, hidden=16, attention=8, threads=1, intervals=8)
        task = SURVIVAL.training.with_settings(config)
        own = dataclasses.replace(targets, n_intervals=task.n_intervals)
        head = fit(task, inputs(bags, train, [], own, config), seed=[1]).head
        outputs = predict(head, bags.__getitem__, test)
        if loss == "cox":
            known = prognosis_of(predict(head, bags.__getitem__, train)[:, 0], *own.of(train))
            survival = np.exp(-known.cumulative(outputs[:, 0], moments))
        else:
            learnt = own.learnt_of(train)
            survival = np.exp(-cumulative_hazard(log_odds_of(outputs, learnt), learnt.intervals.ends, moments))
        errors[loss] = float(np.sqrt(np.mean((survival - true) ** 2)))
    assert errors["logistic_hazard"] < 0.7 * errors["cox"]
    early = np.array([p in test[::2] for p in test])
    at_10, at_30 = survival[:, 9], survival[:, 29]
    assert at_10[early].mean() < at_10[~early].mean() - 0.2  # those who die early are behind at first
    assert at_30[early].mean() > at_30[~early].mean()  # and ahead at last: the curves cross
    for one, other in itertools.pairwise(survival.T):
        assert (other <= one + 1e-12).all()


def test_where_hazards_are_proportional_patients_are_ranked_like_by_cox():
    rng = np.random.default_rng(4)
    bags, times, events = {}, {}, {}
    for number in range(160):
        patient, risk = f"p{number:03d}", rng.normal()
        tiles = rng.normal(size=(10, 8))
        tiles[:, 1] += 2 * risk
        bags[patient] = bag(patient, tiles)
        died, end = 20 * rng.exponential() * np.exp(-1.2 * risk), rng.uniform(5, 60)
        times[patient], events[patient] = float(min(died, end)), int(died <= end)
    patients = sorted(bags)
    train, test = patients[:100], patients[100:]
    found = {}
    for loss in ("cox", "logistic_hazard"):
        config = TrainConfig(task="survival", loss=loss, hidden=16, attention=8, threads=1)
        task = SURVIVAL.training.with_settings(config)
        own = SurvivalTargets(times=times, events=events, n_intervals=task.n_intervals)
        head = fit(task, inputs(bags, train, [], own, config), seed=[1]).head
        outputs = predict(head, bags.__getitem__, test)
        risk = outputs[:, 0] if loss == "cox" else interval_risks(outputs, own.learnt_of(train))
        found[loss] = c_index(risk, *own.of(test))
    assert found["logistic_hazard"] > found["cox"] - 0.03
