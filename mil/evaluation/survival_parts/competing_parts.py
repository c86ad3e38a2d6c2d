"""Cumulative incidence of the end point and of competing events in the risk groups of a run, out of fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mil.evaluation.survival_parts.records import IncidenceAt
from mil.metrics.survival_curves import kaplan_meier
from mil.runs.figure_names import ATTENTION, COMPETING
from mil.runs.run_store import FinishedRun, by_patient
from mil.survival.competing_risks import aalen_johansen

QUANTILES = (0.25, 0.5, 0.75)  # of the times of the end point's events


def incidence_of(run: FinishedRun, group: Int[np.ndarray, " n"], names: Sequence[str]) -> tuple[IncidenceAt, ...]:
    """Return the cumulative incidences of the risk groups at some times; nothing where competing events are not known.

    Args:
        run: the run.
        group: of each tested patient, in the order of the ids.
        names: of the groups.
    """
    if COMPETING not in run.patients.columns:
        return ()
    table = by_patient(run.predictions, ATTENTION, [], ["time", "event"])
    own = run.patients.set_index("patient_id")[COMPETING].reindex(table.index)
    other = pd.to_numeric(own, errors="coerce").fillna(0).to_numpy(int)
    event, time = table["event"].to_numpy(int), table["time"].to_numpy(float)
    kind = np.where(event == 1, 1, 2 * other).astype(np.int64)
    if not event.any():
        return ()
    moments = np.unique(np.quantile(time[event == 1], QUANTILES))
    groups = [(name, group == index) for index, name in enumerate(names)]
    return tuple(
        _at(name, float(moment), time[part], kind[part]) for name, part in groups if part.any() for moment in moments
    )


def _at(name: str, moment: float, time: Float64[np.ndarray, " n"], kind: Int[np.ndarray, " n"]) -> IncidenceAt:
    own, other = (aalen_johansen(time, kind, of) for of in (1, 2))
    at = int(np.searchsorted(own.times, moment, side="right")) - 1
    low, high = (None if np.isnan(end[at]) else float(end[at]) for end in own.limits())
    steps, survival = kaplan_meier(time, (kind == 1).astype(np.int64))
    naive = 1 - float(survival[np.searchsorted(steps, moment, side="right") - 1])
    return IncidenceAt(
        group=name, time=moment, own=float(own.share[at]), low=low, high=high, competing=float(other.share[at]),
        kaplan_meier=naive,
    )  # fmt: skip
