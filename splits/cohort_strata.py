"""What of a patient is kept even between folds: subtype, event, time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from splits.folds import Strata

if TYPE_CHECKING:
    import pandas as pd

NOT_NAMED = ("no subtype", "censored")  # kept even, but no class that a fold must have


def strata_of(patients: pd.DataFrame) -> Strata:
    """Code each patient by subtype, event and time; a missing value is a stratum of its own."""
    import pandas as pd

    unknown = pd.Series(np.nan, index=patients.index)
    classes = np.zeros(len(patients), dtype=np.int64)
    if "subtype" in patients.columns:
        names = patients["subtype"].astype("string").fillna("").to_numpy(dtype=str)
        classes = np.unique(names, return_inverse=True)[1].astype(np.int64)
    event, time = (patients[name] if name in patients.columns else unknown for name in ("event", "time"))
    return Strata(
        classes=classes,
        events=event.astype("Float64").fillna(-1).to_numpy(dtype=np.int64),
        times=time.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan),
    )


def categories(patients: pd.DataFrame) -> dict[str, Bool[np.ndarray, " n"]]:
    """Return what is kept even between folds, as masks over the patients: classes, and events."""
    found: dict[str, Bool[np.ndarray, " n"]] = {}
    if "subtype" in patients.columns:
        for name in sorted(patients["subtype"].dropna().unique()):
            found[str(name)] = (patients["subtype"] == name).to_numpy(dtype=bool, na_value=False)
        if patients["subtype"].isna().any():
            found["no subtype"] = patients["subtype"].isna().to_numpy()
    if "event" in patients.columns:
        events = patients["event"].astype("Float64").fillna(-1).to_numpy(dtype=float)
        found["events"] = events == 1
        if "subtype" not in patients.columns:
            found["censored"] = events != 1
    return found or {"patients": np.ones(len(patients), dtype=bool)}
