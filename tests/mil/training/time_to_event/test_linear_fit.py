"""The linear head on bags of one tile is Cox regression: coefficients and C of lifelines on known tables, strata and entry too."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.datasets import load_gbsg2, load_rossi
from lifelines.utils import concordance_index
from pytest import approx

from common.failures import StudyError
from mil.metrics.concordance import c_index
from mil.tasks.survival import SURVIVAL
from mil.training.fitting import fit
from mil.training.packed import predict
from mil.training.time_to_event.survival_targets import SurvivalTargets
from tests.helpers.key_tile_bags import CONFIG, bag, inputs

LINEAR = dataclasses.replace(CONFIG, head="linear", ridge=0.0, epochs=0)
PRECISE = {"precision": 1e-12, "r_precision": 1e-14}


def sarcoma(shared_data):
    table = pd.read_csv(shared_data / "tables" / "tcga_sarc_cdr_261.csv")
    table = table[table["subtype"].isin(["LMS", "DDLPS", "UPS", "MFS", "SS"])]
    used = pd.DataFrame(
        {
            "age": table["age_at_initial_pathologic_diagnosis"].astype(float), "male": (table["gender"] == "MALE") * 1.0,
            "R1": (table["residual_tumor"] == "R1") * 1.0,
            **{k: (table["subtype"] == k) * 1.0 for k in ("DDLPS", "MFS", "SS", "UPS")},
            "time": table["OS.time"], "event": table["OS"],
        }
    ).dropna()  # fmt: skip
    return used[used["time"] > 0], "time", "event"


def known(name, shared_data=None):
    if name == "sarcoma":
        return sarcoma(shared_data)
    if name == "rossi":
        return load_rossi().astype(float), "week", "arrest"
    return pd.get_dummies(load_gbsg2(), drop_first=True, dtype=float), "time", "cens"


def one_tile_bags(table, time, event, **more):
    patients = [f"p{index:04d}" for index in range(len(table))]
    x = table.drop(columns=[time, event, *more.pop("without", [])]).to_numpy(np.float32)
    own = {patient: row[None] for patient, row in zip(patients, x, strict=True)}
    bags = {
        patient: dataclasses.replace(bag(patient, row), tiles=row) for patient, row in own.items()
    }  # single precision
    targets = SurvivalTargets(
        times=dict(zip(patients, map(float, table[time]), strict=True)),
        events=dict(zip(patients, map(int, table[event]), strict=True)),
        **{key: dict(zip(patients, values, strict=True)) if len(np.shape(values)) else values for key, values in more.items()},
    )  # fmt: skip
    return bags, patients, targets


def fitted_head(bags, patients, targets, config=LINEAR):
    return fit(SURVIVAL.training, inputs(bags, patients, [], targets, config), seed=[0, 0, 0])


def coefficients(head):
    return (head.output.weight[0] * head.inverse_std).detach().double().numpy()


def check_equals_lifelines(name, shared_data=None):
    table, time, event = known(name, shared_data)
    theirs = CoxPHFitter().fit(table, time, event, fit_options=PRECISE)
    bags, patients, targets = one_tile_bags(table, time, event)
    fitted = fitted_head(bags, patients, targets)
    assert len(fitted.history) == 1
    assert coefficients(fitted.head) == approx(theirs.params_.to_numpy(), rel=1e-4, abs=1e-4)
    risks = predict(fitted.head, bags.__getitem__, patients)[:, 0]
    follow_up = table[time].to_numpy(), table[event].to_numpy(int)
    expected = concordance_index(follow_up[0], -theirs.predict_log_partial_hazard(table), follow_up[1])
    assert c_index(np.round(risks, 5), *follow_up) == approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["rossi", "gbsg2"])
def test_linear_head_equals_cox_regression(name):
    check_equals_lifelines(name)


def test_linear_head_equals_cox_regression_on_sarcomas(shared_data):
    check_equals_lifelines("sarcoma", shared_data)


def test_strata_entry_and_weights_reach_the_fit():
    table = load_rossi().astype(float)
    rng = np.random.default_rng(1)
    table["entry"] = np.minimum(rng.integers(0, 10, len(table)), table["week"] - 1)
    table["weight"] = rng.choice([1.0, 2.0, 3.0], len(table))
    theirs = CoxPHFitter().fit(
        table, "week", "arrest", strata=["race"], entry_col="entry", weights_col="weight", fit_options=PRECISE
    )
    without = ["entry", "weight", "race"]
    bags, patients, targets = one_tile_bags(
        table, "week", "arrest", without=without, entries=table["entry"], weights=table["weight"],
        groups=table["race"].astype(str), is_stratified=True,
    )  # fmt: skip
    head = fitted_head(bags, patients, targets).head
    assert coefficients(head) == approx(theirs.params_.to_numpy(), rel=1e-4, abs=1e-4)


def test_breslow_ties_reach_the_fit():
    table, time, event = known("rossi")
    table[time] = np.ceil(table[time] / 13)  # quarters: nearly all are tied
    bags, patients, targets = one_tile_bags(table, time, event)
    efron = coefficients(fitted_head(bags, patients, targets).head)
    breslow = coefficients(fitted_head(bags, patients, dataclasses.replace(targets, ties="breslow")).head)
    from sksurv.linear_model import CoxPHSurvivalAnalysis
    from sksurv.util import Surv

    x, follow_up = table.drop(columns=[time, event]).to_numpy(), Surv.from_arrays(table[event] == 1, table[time])
    for ties, own in (("efron", efron), ("breslow", breslow)):
        theirs = CoxPHSurvivalAnalysis(ties=ties, n_iter=200, tol=1e-12).fit(x, follow_up).coef_
        assert own == approx(theirs, rel=1e-4, abs=1e-4)
    assert np.abs(efron - breslow).max() > 0.01


def test_without_a_ridge_a_wide_embedding_is_refused_and_with_it_is_not():
    rng = np.random.default_rng(2)
    patients = [f"p{index:02d}" for index in range(30)]
    bags = {patient: bag(patient, rng.normal(size=(3, 60)).astype(np.float32)) for patient in patients}
    targets = SurvivalTargets(
        times={patient: float(rng.integers(1, 99)) for patient in patients}, events=dict.fromkeys(patients, 1)
    )
    with pytest.raises(StudyError, match="60 inputs of 30 patients with 30 events has no optimum"):
        fitted_head(bags, patients, targets)
    free = fitted_head(bags, patients, targets, dataclasses.replace(LINEAR, ridge=None)).head
    held = fitted_head(bags, patients, targets, dataclasses.replace(LINEAR, ridge=6000.0)).head
    assert np.abs(coefficients(held)).sum() < 0.1 * np.abs(coefficients(free)).sum()
