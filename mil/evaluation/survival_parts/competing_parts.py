"""Cumulative incidence of the end point and of competing events in the risk groups of a run, out of fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int, Int64

from mil.evaluation.survival_parts.records import IncidenceAt
from mil.metrics.survival_curves import kaplan_meier
from mil.runs.figure_names import ATTENTION, COMPETING
from mil.runs.run_store import FinishedRun, by_patient
from mil.survival.competing_risks import aalen_johansen

QUANTILES = (0.25, 0.5, 0.75)  # of the times of the end point's events
END_POINT, OTHER = 1, 2  # kinds of events


def incidence_of(run: FinishedRun, group: Int[np.ndarray, " n"], names: Sequence[str]) -> tuple[IncidenceAt, ...]:
    """Return the cumulative incidences of the risk groups at some times; nothing where competing events are not known.

    Args:
        run: the run.
        group: of each tested patient, in the order of the ids.
        names: of the groups.
    """
    known = times_and_kinds(run)
    if known is None or not (known[1] == END_POINT).any():
        return ()
    time, kind = known
    moments = np.unique(np.quantile(time[kind == END_POINT], QUANTILES))
    groups = [(name, group == index) for index, name in enumerate(names)]
    return tuple(
        _at(name, float(moment), time[part], kind[part]) for name, part in groups if part.any() for moment in moments
    )


def times_and_kinds(run: FinishedRun) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]] | None:
    """Return follow-up and kind of event (0 censored, END_POINT, OTHER) of the tested patients, in the order of the ids.

    None where competing events are not known.
    """
    if COMPETING not in run.patients.columns:
        return None
    table = by_patient(run.predictions, ATTENTION, [], ["time", "event"])
    own = run.patients.set_index("patient_id")[COMPETING].reindex(table.index)
    other = pd.to_numeric(own, errors="coerce").fillna(0).to_numpy(int)
    kind = np.where(table["event"].to_numpy(int) == 1, END_POINT, OTHER * other).astype(np.int64)
    return table["time"].to_numpy(float), kind


def _at(name: str, moment: float, time: Float64[np.ndarray, " n"], kind: Int[np.ndarray, " n"]) -> IncidenceAt:
    own, other = (aalen_johansen(time, kind, of) for of in (END_POINT, OTHER))
    at = int(np.searchsorted(own.times, moment, side="right")) - 1
    low, high = (None if np.isnan(end[at]) else float(end[at]) for end in own.limits())
    steps, survival = kaplan_meier(time, (kind == END_POINT).astype(np.int64))
    naive = 1 - float(survival[np.searchsorted(steps, moment, side="right") - 1])
    return IncidenceAt(
        group=name, time=moment, own=float(own.share[at]), low=low, high=high, competing=float(other.share[at]),
        kaplan_meier=naive,
    )  # fmt: skip
