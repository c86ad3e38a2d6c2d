"""Survival runs made by hand whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mil.runs.facts import CovariateFacts
from tests.helpers.run_folders import FACTS, run_of


def subtype_alone_run(tmp_path, n=240, seed=0):
    """A cohort whose risk is the subtype's alone; the score is the subtype's hazard and noise, the clinic knows nothing."""
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 3
    to_event, to_end = rng.exponential(np.exp(-1.5 * kind)), rng.uniform(0.1, 3, n)
    score = kind + 0.3 * rng.normal(size=n)
    patients = [f"p{index:03d}" for index in range(n)]
    rows = pd.DataFrame(
        {
            "repeat": 0, "fold": np.arange(n) % 2, "patient_id": patients, "model": "attention",
            "time": np.minimum(to_event, to_end), "event": (to_event <= to_end).astype(int), "log_hazard": score,
            "score": score, "risk_group": (score > 1).astype(int),
        }
    )  # fmt: skip
    table = pd.DataFrame(
        {"patient_id": patients, "subtype": np.array(["DDLPS", "LMS", "UPS"])[kind], "age": rng.normal(60, 9, n), "sex": "m"}
    )  # fmt: skip
    folds = tuple(replace(fold, covariate_medians={"age": 60.0}) for fold in FACTS.folds)
    covariates = CovariateFacts(used=("age", "sex"), left_out={})
    facts = replace(FACTS, task="survival", folds=folds, covariates=covariates)
    return run_of(tmp_path, rows, facts=facts, patients=table)
