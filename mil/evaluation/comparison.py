"""Two runs on the same patients: what differs, by how much, and whether chance explains it.

One-vs-rest AUROCs by DeLong, everything else by the paired patient bootstrap, folds by the corrected resampled t; p values
of one kind of test are adjusted together (Holm 1979, Scand J Stat 6:65).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from common.failures import StudyError
from mil.metrics import classification as metrics
from mil.metrics.bootstrap import TOO_FEW, Draws, intervals, plan_resampling
from mil.metrics.concordance import c_index
from mil.metrics.delong import compare_aurocs
from mil.metrics.paired_tests import bootstrap_p, corrected_resampled_t, holm
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.runs.figure_names import ATTENTION, CALIBRATION, DISCRIMINATION, MAIN
from mil.runs.run_store import Run, by_fold, by_patient

SHOWN_DIFFERENT = 5


def compare_runs(first: Run, second: Run, *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Compare the attention models of two runs; differences are the first less the second.

    Raises:
        StudyError: they have other tasks, classes, patients or labels; the difference is named.
    """
    check_comparable(first, second)
    if first.task == "subtype":
        from mil.evaluation.subtype_evaluation import draw_figures_of as draw_subtype

        columns = first.probability_columns
        tables = [by_patient(run.predictions, ATTENTION, columns, ["truth"]) for run in (first, second)]
        labels = first.codes(tables[0]["truth"])
        plan = plan_resampling(labels, n_bootstrap, np.random.default_rng([seed, 71]))
        draws = [draw_subtype(table[columns].to_numpy(), labels, plan) for table in tables]
        names = [*DISCRIMINATION, *CALIBRATION]
    else:
        from mil.evaluation.survival_evaluation import draw_figures_of as draw_survival

        event = by_patient(first.predictions, ATTENTION, [], ["event"])["event"].to_numpy(int)
        plan = plan_resampling(event, n_bootstrap, np.random.default_rng([seed, 72]))
        draws = [draw_survival(run, ATTENTION, plan) for run in (first, second)]
        names = list(draws[0].value)
    found: dict[str, Any] = {
        "task": first.task, "first": first.facts["run"], "second": second.facts["run"],
        "n_patients": len(plan.counts), "n_bootstrap": n_bootstrap,
        "bootstrap": _paired_bootstrap(draws[0], draws[1], names), "folds": _fold_test(first, second),
    }  # fmt: skip
    if first.task == "subtype":
        found["delong"] = _delong(first, tables[0][columns].to_numpy(), tables[1][columns].to_numpy(), labels)
    return found


def check_comparable(first: Run, second: Run) -> None:
    """Refuse two runs that do not predict the same thing for the same patients.

    Raises:
        StudyError: names the difference.
    """
    names = f"{first.folder.name} and {second.folder.name}"
    for what in ("task", "classes"):
        if first.facts[what] != second.facts[what]:
            raise StudyError(
                f"runs {names}: {what} is {first.facts[what]} and {second.facts[what]}; compare like with like"
            )
    truths = ["truth"] if first.task == "subtype" else ["time", "event"]
    tables = [by_patient(run.predictions, ATTENTION, [], truths) for run in (first, second)]
    if not len(tables[0]) or not len(tables[1]):
        raise StudyError(f"runs {names}: one has no test patient, so there is nothing to compare")
    only = [sorted(set(tables[index].index) - set(tables[1 - index].index)) for index in (0, 1)]
    if only[0] or only[1]:
        told = "; ".join(
            f"{len(own)} only in {run.folder.name}: {_few(own)}"
            for own, run in zip(only, (first, second), strict=True)
            if own
        )
        raise StudyError(f"runs {names} tested different patients: {told}. Train both on the same splits")
    other = tables[0].index[(tables[0][truths] != tables[1][truths]).any(axis=1)]
    if len(other):
        raise StudyError(
            f"runs {names}: {' and '.join(truths)} differ for {len(other)} patient(s): {_few(list(other))}"
        )


def _few(patients: Sequence[str]) -> str:
    return ", ".join(patients[:SHOWN_DIFFERENT]) + (" ..." if len(patients) > SHOWN_DIFFERENT else "")


def _paired_bootstrap(first: Draws, second: Draws, names: Sequence[str]) -> list[dict[str, Any]]:
    difference = first.minus(second)
    own, other, paired = intervals(first), intervals(second), intervals(difference)
    kept = [name for name in names if name in paired and paired[name].value is not None]
    p_values = [None if paired[name].method == TOO_FEW else bootstrap_p(difference.bootstrap[name]) for name in kept]
    return [
        {
            "figure": name, "first": own[name].value, "second": other[name].value, "difference": asdict(paired[name]),
            "p": p, "p_holm": adjusted,
        }
        for name, p, adjusted in zip(kept, p_values, holm(p_values), strict=True)
    ]  # fmt: skip


def _delong(run: Run, first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for index, name in enumerate(run.facts["classes"]):
        is_class = labels == index
        row = {"class": name, "n": int(is_class.sum())}
        if len(labels) < MIN_PATIENTS or min(is_class.sum(), (~is_class).sum()) < MIN_EVENTS:
            rows.append(row | {"first": None, "second": None, "standard_error": None, "z": None, "p": None})
        else:
            rows.append(row | asdict(compare_aurocs(first[:, index], second[:, index], is_class)))
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _fold_test(first: Run, second: Run) -> list[dict[str, Any]]:
    """Return the corrected t of each fold figure; a reason instead when the runs were folded differently."""
    places = [_test_parts(run) for run in (first, second)]
    if places[0] != places[1]:
        return [
            {"figure": MAIN[first.task], "why": "the runs have different folds: there are no pairs of folds to compare"}
        ]
    sizes = {(fold["repeat"], fold["fold"]): fold["n_train"] + fold["n_val"] for fold in first.facts["folds"]}
    values = [_fold_figures(run) for run in (first, second)]
    rows: list[dict[str, Any]] = []
    for name in values[0]:
        keys = [key for key in values[0][name] if np.isfinite(values[0][name][key] + values[1][name][key])]
        differences = np.array([values[0][name][key] - values[1][name][key] for key in keys], dtype=np.float64)
        train = np.array([sizes[key] for key in keys], dtype=np.float64)
        test = np.array([len(places[0][key]) for key in keys], dtype=np.float64)
        rows.append({"figure": name, **corrected_resampled_t(differences, train, test)})
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return rows


def _test_parts(run: Run) -> dict[tuple[int, int], list[str]]:
    return {key: sorted(rows["patient_id"]) for key, rows in by_fold(run.predictions, ATTENTION)}


def _fold_figures(run: Run) -> dict[str, dict[tuple[int, int], float]]:
    found: dict[str, dict[tuple[int, int], float]] = {}
    for place, rows in by_fold(run.predictions, ATTENTION):
        if run.task == "subtype":
            values = metrics.classification_metrics(
                rows[run.probability_columns].to_numpy(), run.codes(rows["truth"]), metrics.once(len(rows))
            )
            numbers = {name: float(values[name][0]) for name in ("macro_auroc", "balanced_accuracy", "accuracy")}
        else:
            risk, time = rows["log_hazard"].to_numpy(float), rows["time"].to_numpy(float)
            numbers = {"c_index": c_index(risk, time, rows["event"].to_numpy(int))}
        for name, value in numbers.items():
            found.setdefault(name, {})[place] = value
    return found
