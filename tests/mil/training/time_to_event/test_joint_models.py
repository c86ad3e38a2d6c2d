"""Models of several scores: what they are made of, that no test patient moves them, and when there are none."""

import numpy as np
import pytest
from pytest import approx

from mil.training.baseline import fit_cox
from mil.training.time_to_event.joint_models import combined_scores, held_out_risks, joint_log_hazards
from mil.training.time_to_event.survival_targets import SurvivalTargets
from splits.fold_plan import FoldPlan

RNG = np.random.default_rng(0)
TRAIN, TEST = tuple(f"a{index:02d}" for index in range(60)), tuple(f"b{index}" for index in range(6))
PLAN = FoldPlan(repeat=0, fold=0, train=TRAIN, val=(), test=TEST)
TARGETS = SurvivalTargets(
    times={patient: float(RNG.integers(1, 40)) for patient in (*TRAIN, *TEST)},
    events={patient: int(RNG.random() < 0.7) for patient in (*TRAIN, *TEST)},
)
CLINIC = RNG.normal(size=(60, 2)), RNG.normal(size=(6, 2))
MEANS = RNG.normal(size=(60, 5)), RNG.normal(size=(6, 5))
HELD = {patient: float(RNG.normal()) for patient in TRAIN[:50]}
IMAGE = RNG.normal(size=6)


def rows(model, patients, scores):
    return [
        {"patient_id": patient, "model": model, "score": float(score)}
        for patient, score in zip(patients, scores, strict=True)
    ]


def combined(held=HELD, inputs=None):
    given = {"mean_pool": MEANS, "clinical": CLINIC} if inputs is None else inputs
    baselines = rows("mean_pool", TEST, np.arange(6.0)) + rows("clinical", TEST, np.zeros(6))
    return combined_scores(
        PLAN, TARGETS, rows("attention", TEST, IMAGE), rows("attention", held, held.values()), baselines, given
    )


def test_joint_model_is_the_penalised_cox_model_of_held_out_scores_and_covariates():
    held, tested = joint_log_hazards(CLINIC, (HELD, IMAGE), PLAN, TARGETS)
    train = np.column_stack([CLINIC[0][:50], list(HELD.values())])
    cox = fit_cox(train, *TARGETS.of(TRAIN[:50]))
    assert held == approx(cox.log_hazard(train))
    assert tested == approx(cox.log_hazard(np.column_stack([CLINIC[1], IMAGE])))


def test_the_average_is_of_both_scores_and_has_a_scale_of_held_out_patients():
    found = combined()
    assert set(found) == {"combined", "joint"}
    value, scale = found["combined"]
    assert value == approx((IMAGE + np.arange(6.0)) / 2)
    risks = held_out_risks(MEANS[0], PLAN, TARGETS)
    own = np.array([risks[patient] for patient in sorted(risks)])
    both = [(HELD[patient] + (risks[patient] - own.mean()) / own.std()) / 2 for patient in sorted(HELD.keys() & risks)]
    assert (scale["mean"], scale["sd"], *scale["cutoffs"]) == approx((np.mean(both), np.std(both), np.median(both)))


def test_held_out_risks_are_of_models_of_the_others():
    risks = held_out_risks(MEANS[0], PLAN, TARGETS)
    assert set(risks) == set(TRAIN)
    in_sample = fit_cox(MEANS[0], *TARGETS.of(TRAIN)).log_hazard(MEANS[0])
    own = np.array([risks[patient] for patient in TRAIN])
    assert 0 < np.corrcoef(own, in_sample)[0, 1] < 0.999


def test_without_held_out_scores_there_is_no_joint_model_and_the_average_keeps_its_scale():
    found = combined(held={})
    assert set(found) == {"combined"}
    assert found["combined"][1] == {"mean": 0.0, "sd": 1.0, "cutoffs": (0.0,)}
    assert set(combined(inputs={"mean_pool": MEANS})) == {"combined"}


@pytest.mark.parametrize("with_event", [False, True])
def test_held_out_patients_without_an_event_make_no_joint_model(with_event):
    first = next(patient for patient in TRAIN if TARGETS.events[patient] == 1)
    censored = [patient for patient in TRAIN if TARGETS.events[patient] == 0]
    held = dict.fromkeys([*censored, first] if with_event else censored, 0.5)
    assert (joint_log_hazards(CLINIC, (held, IMAGE), PLAN, TARGETS) is None) != with_event
