"""Cumulative hazards of test patients of a fold, by one log-hazard or a log-odds for each interval of time, against loops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytest import approx

from common.failures import StudyError
from mil.evaluation.survival_parts.predicted_hazards import cumulative_hazards, fold_intervals, numbers_of_intervals
from mil.runs.facts import IntervalFacts, ScaleFacts
from mil.runs.figure_names import log_odds_columns
from mil.survival.prognosis import prognosis_of
from tests.helpers.run_folders import FACTS, FOLDS, run_of

ENDS = (6.0, 12.0, 30.0)
NAMES = log_odds_columns(3)


def a_run(*intervals):
    """A run whose folds have these intervals, or none."""
    scales = [ScaleFacts(mean=0.0, sd=1.0, cutoffs=(0.0,), intervals=own) for own in intervals]
    folds = tuple(replace(fold, scale=scale) for fold, scale in zip(FOLDS, scales, strict=True))
    return run_of(Path("run"), pd.DataFrame(), facts=replace(FACTS, task="survival", folds=folds))


OF_TIME = IntervalFacts(ends=ENDS, base=(0.0, 0.0, 0.0))


def test_intervals_are_those_of_the_fold():
    run = a_run(OF_TIME, IntervalFacts(ends=(5.0,), base=(0.0,)))
    assert (fold_intervals(run, (0, 0)), fold_intervals(run, (0, 1)).ends) == (OF_TIME, (5.0,))
    assert fold_intervals(run, (1, 0)) is None
    assert numbers_of_intervals(run) == (3, 1)
    for cox in (a_run(None, None), run_of(Path("run"), pd.DataFrame(), facts=FACTS)):
        assert fold_intervals(cox, (0, 0)) is None
        assert numbers_of_intervals(cox) is None


def test_hazards_of_intervals_equal_the_loop():
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(4, 3)), columns=NAMES)
    moments = np.array([3.0, 6.0, 20.0, 30.0])
    found = cumulative_hazards(a_run(OF_TIME, OF_TIME), (0, 1), pd.DataFrame(), rows, moments)
    for patient in range(4):
        steps, starts = np.log1p(np.exp(rows.loc[patient])), (0.0, *ENDS[:-1])  # - log(1 - h) of each interval
        for k, moment in enumerate(moments):
            shares = [min(max((moment - start) / (end - start), 0), 1) for start, end in zip(starts, ENDS, strict=True)]
            assert found[patient, k] == approx(np.dot(shares, steps))


def test_hazards_of_one_log_hazard_are_those_of_the_training_patients():
    rng = np.random.default_rng(1)
    known = pd.DataFrame(
        {"log_hazard": rng.normal(size=40), "time": rng.exponential(9, 40), "event": rng.integers(0, 2, 40)}
    )
    rows = pd.DataFrame({"log_hazard": [0.5, -1.0]})
    wanted = prognosis_of(*(known[name].to_numpy() for name in ("log_hazard", "time", "event"))).cumulative(
        np.array([0.5, -1.0]), np.array([4.0, 9.0])
    )
    assert cumulative_hazards(a_run(None, None), (0, 0), known, rows, np.array([4.0, 9.0])) == approx(wanted)


@pytest.mark.parametrize("lack", ["column", "cell", "all"])
def test_a_prediction_that_lacks_a_log_odds_is_refused(lack):
    rows = pd.DataFrame(np.zeros((2, 3)), columns=NAMES)
    if lack == "cell":
        rows = rows.astype(object)
        rows.loc[1, NAMES[1]] = ""
    rows = rows.drop(columns={"column": NAMES[2:], "cell": [], "all": NAMES}[lack])
    wanted = rf"repeat 0, fold 1 has 3 intervals of time.*one of {NAMES[0]} to {NAMES[-1]}; train again"
    with pytest.raises(StudyError, match=wanted):
        cumulative_hazards(a_run(OF_TIME, OF_TIME), (0, 1), pd.DataFrame(), rows, np.array([1.0]))
