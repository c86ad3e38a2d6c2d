"""Survival curves of the risk groups of a run, out of fold, and the one predicted for a patient."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from mil.evaluation.survival_evaluation import group_of_patients, risk_group_names
from mil.evaluation.survival_parts.predicted_hazards import cumulative_hazards
from mil.metrics.survival_curves import kaplan_meier, kaplan_meier_limits
from mil.runs.figure_names import ATTENTION
from mil.runs.run_store import FinishedRun, by_fold, by_patient

N_TIMES = 60


def survival_json(run: FinishedRun, patient_id: str) -> dict[str, object]:
    """Return the curves as plain values.

    Args:
        run: a survival run.
        patient_id: whose own curve is predicted, where the run tested it.
    """
    table = by_patient(run.predictions, ATTENTION, ["risk_group", "score"], ["time", "event"])
    time, event = table["time"].to_numpy(float), table["event"].to_numpy(int)
    group = group_of_patients(table)
    groups = []
    for index, name in enumerate(risk_group_names(run)):
        is_own = group == index
        if is_own.any():
            groups.append({"name": name, "n": int(is_own.sum()), **_curve(time[is_own], event[is_own])})
    moments = np.linspace(0, float(time.max()), N_TIMES)
    own = predicted_survival(run, patient_id, moments)
    place = table.index.get_loc(patient_id) if patient_id in table.index else None
    return {
        "unit": run.facts.time_unit or "time as in the table",
        "groups": groups,
        "patient": patient_id,
        "times": moments.tolist(),
        "survival": None if own is None else own.tolist(),
        "outcome": None if place is None else {"time": float(time[place]), "event": int(event[place])},
    }


def _curve(time: np.ndarray, event: np.ndarray) -> dict[str, list[float | None]]:
    steps, survival = kaplan_meier(time, event)
    low, high = kaplan_meier_limits(time, event)
    end = float(time.max())
    curve = {"times": [*steps.tolist(), end], "survival": [*survival.tolist(), float(survival[-1])]}
    limits = {"low": [*low.tolist(), float(low[-1])], "high": [*high.tolist(), float(high[-1])]}
    return {name: [value if np.isfinite(value) else None for value in own] for name, own in (curve | limits).items()}


def predicted_survival(
    run: FinishedRun, patient_id: str, moments: Float64[np.ndarray, " t"]
) -> Float64[np.ndarray, " t"] | None:
    """Return the survival predicted for a test patient at some times, averaged over repeats.

    Each fold's is what its head says, or its training patients' follow-up makes of the log-hazard
    (mil/evaluation/survival_parts/predicted_hazards.py). None where the run did not
    test the patient, or kept no follow-up of training patients.
    """
    trained, curves = dict(by_fold(run.follow_up, ATTENTION)), []
    for key, rows in by_fold(run.predictions, ATTENTION):
        own = rows[rows["patient_id"] == patient_id]
        if not len(own) or key not in trained:
            continue
        curves.append(np.exp(-cumulative_hazards(run, key, trained[key], own.iloc[:1], moments)[0]))
    return np.mean(curves, axis=0) if curves else None
