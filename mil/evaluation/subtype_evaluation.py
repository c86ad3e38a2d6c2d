"""The figures of a subtype run: discrimination, calibration, prediction sets and selective prediction, by patient.

Fixed beforehand: discrimination is that of the probabilities as the models give them. Temperature scaling keeps the order
of classes of every patient and every AUROC inside a fold, but not the order of patients of different folds, so the pooled
AUROC may differ; calibrated probabilities serve the calibration figures alone, beside the uncalibrated ones.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mil.metrics import classification as metrics
from mil.metrics import conformal
from mil.metrics.bootstrap import Draws, Resampling, intervals, plan_resampling, resample, supported
from mil.metrics.calibration import (
    calibration_metrics,
    fit_temperature,
    n_bins_for,
    recalibrate,
    reliability,
    scale_temperature,
)
from mil.metrics.selective import COVERAGES, accuracy_at, area_under_risk, selective_curve
from mil.metrics.support import MIN_EVENTS, Support, class_support, share_support
from mil.runs.figure_names import ATTENTION, BASELINES, CALIBRATION, DISCRIMINATION, PRIOR
from mil.runs.run_store import Run, by_fold, by_patient

if TYPE_CHECKING:
    import pandas as pd


def evaluate_subtype(run: Run, *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return the figures of a subtype run."""
    classes, columns = list(run.facts["classes"]), run.probability_columns
    tables = {model: by_patient(run.predictions, model, columns, ["truth"]) for model in run.models}
    labels = run.codes(tables[ATTENTION]["truth"])
    plan = plan_resampling(labels, n_bootstrap, np.random.default_rng([seed, 71]))
    draws = {
        model: draw_figures_of(table[columns].to_numpy(), labels, plan)
        for model, table in tables.items()
        if model != PRIOR
    }
    named = [*DISCRIMINATION, *CALIBRATION]
    found: dict[str, Any] = {model: _named(own, named) for model, own in draws.items()}
    found["differences"] = {
        model: _named(draws[ATTENTION].minus(draws[model]), named) for model in BASELINES if model in draws
    }
    found["notes"] = class_notes(labels, classes)
    found["n_patients"] = len(labels)
    prior = tables[PRIOR][columns].to_numpy() if PRIOR in tables else None
    found["chance"] = chance_figures(prior, labels, len(classes))
    probabilities = tables[ATTENTION][columns].to_numpy()
    found["per_class"] = _per_class(draws[ATTENTION], probabilities, labels, classes)
    confusion = metrics.confusion_matrices(
        probabilities.argmax(axis=1), labels, len(classes), metrics.once(len(labels))
    )
    found["confusion"] = {"classes": classes, "counts": confusion[..., 0].astype(int).tolist()}
    found["calibration"] = _calibration(run, probabilities, labels, plan)
    found["conformal"] = _conformal(run, labels, plan)
    found["selective"] = _selective(probabilities, labels)
    found["folds_tested"] = _by_fold(run)
    return found


def draw_figures_of(probabilities: np.ndarray, labels: np.ndarray, plan: Resampling) -> Draws:
    """Return all figures of a model on a resampling plan."""
    drawn = resample(
        lambda weights: {
            **metrics.classification_metrics(probabilities, labels, weights, least=MIN_EVENTS),
            **calibration_metrics(probabilities, labels, weights),
        },
        plan,
    )
    return supported(drawn, class_support(probabilities, labels))


def class_notes(labels: np.ndarray, classes: list[str]) -> list[str]:
    """Say which classes no test patient has, and which have too few for macro averages and an interval."""
    n_of = np.bincount(labels, minlength=len(classes))
    is_macro = metrics.macro_classes(n_of, MIN_EVENTS)
    absent = [name for name, n in zip(classes, n_of, strict=True) if not n]
    few = [f"{name} ({n})" for name, n, is_in in zip(classes, n_of, is_macro, strict=True) if n and not is_in]
    notes = [f"no test patient of {', '.join(absent)}: left out of macro averages"] if absent else []
    if few:
        notes.append(
            f"under {MIN_EVENTS} test patients of {', '.join(few)}: no interval of their own, left out of macro averages"
        )
    return notes


def _named(draws: Draws, names: list[str]) -> dict[str, dict[str, Any]]:
    return {name: asdict(own) for name, own in intervals(draws).items() if name in names}


def chance_figures(prior: np.ndarray | None, labels: np.ndarray, n_classes: int) -> dict[str, float]:
    """Return what can be reached without a look at the slides.

    Who ranks no patient above another has an AUROC of 0.5, and an average precision of the class's share. Accuracy and F1 are
    those of naming the largest class of the test patients each time: the most frequent class of a fold's training patients
    would be a worse guess where whole sites, with classes of their own, are tested. Brier score, log loss and calibration
    error are those of the prior, whose probabilities are the class shares among each fold's training patients.
    """
    counts = np.bincount(labels, minlength=n_classes)
    in_macro = metrics.macro_classes(counts, MIN_EVENTS) & (counts > 0)
    share, largest = counts / counts.sum(), int(counts.argmax())
    f1 = 2 * share[largest] / (1 + share[largest])
    found = {
        "macro_auroc": 0.5, "weighted_auroc": 0.5, "macro_average_precision": float(share[in_macro].mean()),
        "weighted_average_precision": float((share * share).sum()), "balanced_accuracy": float(1 / in_macro.sum()),
        "accuracy": float(share[largest]), "macro_f1": float(in_macro[largest] * f1 / in_macro.sum()),
        "weighted_f1": float(share[largest] * f1), "cohen_kappa": 0.0,
    }  # fmt: skip
    if prior is not None:
        own = calibration_metrics(prior, labels, metrics.once(len(labels)))
        found |= {name: float(own[name][0]) for name in ("brier", "log_loss", "ece") if np.isfinite(own[name][0])}
    return found


def _per_class(
    draws: Draws, probabilities: np.ndarray, labels: np.ndarray, classes: list[str]
) -> dict[str, dict[str, Any]]:
    known = intervals(draws)
    large = recalibrate(probabilities, labels, metrics.once(len(labels)), is_slope_free=False).intercept[0]
    return {
        name: {
            "n": int((labels == index).sum()),
            "auroc": asdict(known[f"auroc:{index}"]),
            "average_precision": asdict(known[f"average_precision:{index}"]),
            "calibration_intercept": float(large[index]) if np.isfinite(large[index]) else None,
        }
        for index, name in enumerate(classes)
    }


def temperatures(run: Run) -> dict[tuple[int, int], tuple[float, int]]:
    """Return each fold's temperature and how many inner validation patients it was fitted on."""
    fitted = {}
    for key, rows in by_fold(run.validation, ATTENTION):
        temperature = fit_temperature(rows[run.probability_columns].to_numpy(), run.codes(rows["truth"]))
        if temperature is not None:
            fitted[key] = (temperature, len(rows))
    return fitted


def calibrated_predictions(run: Run) -> pd.DataFrame | None:
    """Return the attention model's predictions, each fold's scaled by its own temperature; None without validation."""
    fitted, columns = temperatures(run), run.probability_columns
    own = run.predictions[run.predictions["model"] == ATTENTION].copy()
    for key, rows in by_fold(own, ATTENTION):
        if key not in fitted:
            return None
        scaled = scale_temperature(rows[columns].to_numpy(), fitted[key][0])
        own.loc[rows.index, columns] = scaled
    return own


def _calibration(run: Run, probabilities: np.ndarray, labels: np.ndarray, plan: Resampling) -> dict[str, Any]:
    n_bins = n_bins_for(len(labels))
    found: dict[str, Any] = {"n_bins": n_bins, "raw": {"bins": reliability(probabilities, labels, n_bins)}}
    found["temperatures"] = [
        {"repeat": repeat, "fold": fold, "temperature": value, "n_val": n_val}
        for (repeat, fold), (value, n_val) in temperatures(run).items()
    ]
    calibrated = calibrated_predictions(run)
    if calibrated is None:
        return found | {"calibrated": None}
    scaled = by_patient(calibrated, ATTENTION, run.probability_columns, ["truth"])[run.probability_columns].to_numpy()
    figures = _named(draw_figures_of(scaled, labels, plan), ["macro_auroc", *CALIBRATION])
    return found | {"calibrated": {"bins": reliability(scaled, labels, n_bins), **figures}}


def _conformal(run: Run, labels: np.ndarray, plan: Resampling) -> dict[str, Any] | None:
    """Return coverage and size of prediction sets, out of fold; None without inner validation."""
    columns, coverage = run.probability_columns, conformal.COVERAGE
    tested = run.predictions[run.predictions["model"] == ATTENTION]
    known = dict(by_fold(run.validation, ATTENTION))
    if not known:
        return None
    found: dict[str, Any] = {"coverage_wanted": coverage, "least_patients": conformal.least_patients(coverage)}
    kinds = {"by_class": conformal.class_thresholds, "common": conformal.common_thresholds}
    for kind, thresholds_of in kinds.items():
        sets, n_always = np.zeros((len(tested), len(columns)), dtype=bool), 0
        for key, rows in by_fold(tested, ATTENTION):
            if key not in known:
                return None
            limits = thresholds_of(known[key][columns].to_numpy(), run.codes(known[key]["truth"]), coverage)
            n_always += int(np.isinf(limits).sum())
            sets[tested.index.get_indexer(rows.index)] = conformal.prediction_sets(rows[columns].to_numpy(), limits)
        truth = run.codes(tested["truth"])
        found[kind] = _set_figures(sets, truth, tested["patient_id"].to_numpy(), labels, plan)
        found[kind] |= {"always_included": n_always, "n_thresholds": len(known) * len(columns)}
    return found


def _set_figures(
    sets: np.ndarray, truth: np.ndarray, patients: np.ndarray, labels: np.ndarray, plan: Resampling
) -> dict[str, Any]:
    """Average over repeats by patient, then over patients, with an interval over patients."""
    import pandas as pd

    rows = pd.DataFrame({"covered": sets[np.arange(len(truth)), truth], "size": sets.sum(axis=1)}).astype(float)
    rows["single"], rows["empty"] = (rows["size"] == 1).astype(float), (rows["size"] == 0).astype(float)
    means = rows.groupby(patients, sort=True).mean()
    drawn = resample(
        lambda weights: {str(name): means[name].to_numpy() @ weights / weights.sum(axis=0) for name in means}, plan
    )
    support = {str(name): share_support(drawn.value[str(name)], len(means), is_count=False) for name in means}
    support["size"] = Support(support["covered"].is_enough)
    found: dict[str, Any] = {name: asdict(own) for name, own in intervals(supported(drawn, support)).items()}
    found["covered_by_class"] = [
        float(means["covered"].to_numpy()[labels == index].mean()) if (labels == index).any() else None
        for index in range(sets.shape[1])
    ]
    return found


def _selective(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    coverage, accuracy = selective_curve(confidence, is_right)
    return {
        "curve": [[float(kept), float(right)] for kept, right in zip(coverage, accuracy, strict=True)],
        "at": [{"coverage": wanted, "accuracy": accuracy_at(coverage, accuracy, wanted)} for wanted in COVERAGES],
        "area_under_risk": area_under_risk(confidence, is_right),
    }


def _by_fold(run: Run) -> list[dict[str, Any]]:
    """Return each fold's own figures, without intervals: few patients, to show the spread."""
    columns, found = run.probability_columns, []
    for key, rows in by_fold(run.predictions, ATTENTION):
        labels = run.codes(rows["truth"])
        values = metrics.classification_metrics(rows[columns].to_numpy(), labels, metrics.once(len(labels)))
        shown = ("macro_auroc", "balanced_accuracy", "accuracy")
        numbers = {name: float(values[name][0]) if np.isfinite(values[name][0]) else None for name in shown}
        found.append({"repeat": key[0], "fold": key[1], "n": len(rows), **numbers})
    return found
