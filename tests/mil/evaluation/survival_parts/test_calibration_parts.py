"""Calibration of a run: predictions of each repeat by its fold's own training patients, averaged, against a loop over patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from pytest import approx

from mil.evaluation.survival_parts.calibration_parts import (
    BINS_FROM,
    MIN_PATIENTS,
    THRESHOLDS,
    calibration_of,
    follow_up_of,
)
from mil.survival.calibration import calibration_at, d_calibration
from mil.survival.decision_curve import net_benefit
from mil.survival.prognosis import prognosis_of
from tests.helpers.run_folders import FACTS, run_of


def patients(n, prefix, seed):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    to_event, to_end = rng.exponential(20 * np.exp(-risk)), rng.uniform(2, 40, n)
    names = [f"{prefix}{k:03d}" for k in range(n)]
    return pd.DataFrame(
        {
            "patient_id": names,
            "time": np.minimum(to_event, to_end),
            "event": (to_event <= to_end).astype(int),
            "log_hazard": risk,
        }
    )


def a_run(n=40):
    """Two repeats of two folds: heads of a repeat differ, so do their training patients."""
    tested, rng = patients(n, "p", 0), np.random.default_rng(9)
    rows, known = [], []
    for repeat in (0, 1):
        for fold in (0, 1):
            own = tested[(np.arange(n) + repeat * (np.arange(n) // 2)) % 2 == fold]
            said = own["log_hazard"] + rng.normal(0, 0.3, len(own)) + 5 * fold
            rows.append(
                own.assign(repeat=repeat, fold=fold, model="attention", log_hazard=said, score=said, risk_group=0)
            )
            trained = patients(60, "t", 10 + 2 * repeat + fold)
            known.append(
                trained.assign(repeat=repeat, fold=fold, model="attention", log_hazard=trained["log_hazard"] + 5 * fold)
            )
    predictions, follow_up = (pd.concat(parts, ignore_index=True) for parts in (rows, known))
    return run_of(Path("run"), predictions, facts=replace(FACTS, task="survival"), follow_up=follow_up)


def prognoses(run):
    """What each fold's own training patients say, by repeat and fold."""
    return {
        key: prognosis_of(
            *(known[name].to_numpy(float) for name in ("log_hazard", "time")), known["event"].to_numpy(int)
        )
        for key, known in run.follow_up.groupby(["repeat", "fold"])
    }


def slow_hazards(run, known, patient, moments):
    """The mean over repeats of a patient's cumulative hazard."""
    rows = run.predictions[run.predictions["patient_id"] == patient]
    found = [
        known[row["repeat"], row["fold"]].cumulative(np.array([row["log_hazard"]]), np.asarray(moments, float))[0]
        for _, row in rows.iterrows()
    ]
    return np.mean(found, axis=0)


@pytest.mark.parametrize(("n", "n_bins"), [(40, 5), (BINS_FROM, 10), (BINS_FROM - 1, 5)])
def test_calibration_is_that_of_predictions_averaged_over_repeats(n, n_bins):
    run = a_run(n)
    found = calibration_of(run)
    table = run.predictions.groupby("patient_id").first()
    time, event = table["time"].to_numpy(), table["event"].to_numpy()
    known = prognoses(run)
    died = run.follow_up.loc[run.follow_up["event"] == 1, "time"]
    moments = np.quantile(died, [0.25, 0.5, 0.75])
    at = np.array([slow_hazards(run, known, patient, moments) for patient in table.index])
    until = np.array(
        [
            slow_hazards(run, known, patient, np.minimum(own, moments))
            for patient, own in zip(table.index, time, strict=True)
        ]
    )
    end = np.array(
        [slow_hazards(run, known, patient, [own])[0] for patient, own in zip(table.index, time, strict=True)]
    )
    assert len(found.at) == 3
    for k, own in enumerate(found.at):
        assert own.slope == approx(calibration_at(moments[k], np.exp(-at[:, k]), until[:, k], time, event).slope)
        assert own.time == approx(moments[k])
    assert found.over_all == d_calibration(np.exp(-end), event, n_bins=n_bins)
    model, everybody = (
        net_benefit(risk, time, event, moments[1], THRESHOLDS) for risk in (1 - np.exp(-at[:, 1]), np.ones(n))
    )
    assert [own.model for own in found.decision] == approx(model)
    assert [own.everybody for own in found.decision] == approx(everybody)
    assert [own.threshold for own in found.decision] == approx(THRESHOLDS)


def test_few_patients_and_runs_without_follow_up_have_none():
    run = a_run(MIN_PATIENTS)
    assert calibration_of(run).at
    one_less = replace(run, predictions=run.predictions[run.predictions["patient_id"] != "p000"])
    for without in (one_less, replace(run, follow_up=run.follow_up.iloc[:0])):
        found = calibration_of(without)
        assert (found.at, found.over_all, found.decision) == ((), None, ())


def test_follow_up_is_the_median_time_to_being_lost():
    run = a_run()
    table = run.predictions.groupby("patient_id").first()
    theirs = KaplanMeierFitter().fit(table["time"], 1 - table["event"]).median_survival_time_
    assert follow_up_of(run).value == approx(theirs)
