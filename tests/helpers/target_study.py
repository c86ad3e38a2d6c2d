"""The study that begins at the features, with columns to predict: a number, grades, an order of words, all told by the tiles."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.study import Study
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

FAST = ["--epochs", "6", "--hidden", "16", "--attention", "8", "--bootstrap", "100", "--threads", "1"]
FAST += ["--learning_rate", "0.01", "--cross_fit", "2"]


def make_target_study(
    root: Path, *, n_patients: int = 36, folds: int = 3, seed: int = 0, is_shuffled: bool = False
) -> Study:
    """Add grade (G1 to G3), size_mm (a number), level (low, intermediate, high), stage (1 to 3), age, site; make splits."""
    study = make_feature_study(root, n_patients=n_patients, seed=seed)
    table = pd.read_csv(study.cohort_table)
    rng = np.random.default_rng(seed + 1)
    code = table["subtype"].map({"DDLPS": 0, "LMS": 1, "UPS": 2}).to_numpy()
    patients = np.unique(table["patient_id"])
    if is_shuffled:
        own = dict(zip(patients, rng.permutation(table.drop_duplicates("patient_id")["subtype"].map(
            {"DDLPS": 0, "LMS": 1, "UPS": 2})), strict=True))  # fmt: skip
        code = table["patient_id"].map(own).to_numpy()
    noise = dict(zip(patients, np.round(rng.normal(size=len(patients)) * 3, 2), strict=True))
    table["grade"] = [f"G{1 + each}" for each in code]
    table["size_mm"] = 20 + 15.0 * code + table["patient_id"].map(noise)
    table["level"] = [("low", "intermediate", "high")[each] for each in code]
    table["stage"] = 1 + code
    number = table["patient_id"].str[1:].astype(int)
    table["site"] = [f"site {n // 3 % 3}" for n in number]
    table["age"] = 40 + number
    table.to_csv(study.cohort_table, index=False)
    assert make_splits(["--study", str(root), "--folds", str(folds), "--method", "k_fold"]) == 0
    return study
