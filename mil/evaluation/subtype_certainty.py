"""How far the probabilities of a subtype run can be trusted: calibration, prediction sets and selective prediction.

Temperature scaling keeps the order of classes of every patient and every AUROC inside a fold, but not the order of patients
of different folds, so the pooled AUROC may differ; calibrated probabilities serve the calibration metrics alone, beside the
uncalibrated ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from mil.evaluation.subtype_metrics import (
    AccuracyAt,
    Calibration,
    Conformal,
    FoldTemperature,
    Reliability,
    Scaled,
    Selective,
    SetMetrics,
)
from mil.metrics import classification as metrics
from mil.metrics import conformal
from mil.metrics.bootstrap import Resamples, Resampling, intervals, named_intervals, resample, supported
from mil.metrics.calibration import calibration_metrics, fit_temperature, n_bins_for, reliability, scale_temperature
from mil.metrics.selective import COVERAGES, accuracy_at, area_under_risk, selective_curve
from mil.metrics.support import MIN_EVENTS, Support, class_support, share_support
from mil.runs.figure_names import ATTENTION, CALIBRATION
from mil.runs.run_store import FinishedRun, by_fold, by_patient

if TYPE_CHECKING:
    import pandas as pd


def resampled_probabilities(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], plan: Resampling,
    patient_of: Int[np.ndarray, " n"] | None = None,
) -> Resamples:  # fmt: skip
    """Return all metrics of class probabilities on a resampling plan; `patient_of` where bags are slides of patients."""
    samples = resample(
        lambda weights: {
            **metrics.classification_metrics(probabilities, labels, weights, least=MIN_EVENTS),
            **calibration_metrics(probabilities, labels, weights),
        },
        plan,
    )
    return supported(samples, class_support(probabilities, labels, patient_of))


def temperatures(run: FinishedRun) -> dict[tuple[int, int], tuple[float, int]]:
    """Return each fold's temperature and how many held-out training patients it was fitted on."""
    fitted = {}
    for key, rows in by_fold(run.validation, ATTENTION):
        temperature = fit_temperature(rows[run.probability_columns].to_numpy(), run.codes(rows["truth"]))
        if temperature is not None:
            fitted[key] = (temperature, len(rows))
    return fitted


def calibrated_predictions(run: FinishedRun) -> pd.DataFrame | None:
    """Return the attention model's predictions, each fold's scaled by its own temperature; None where nobody was held out."""
    fitted, columns = temperatures(run), run.probability_columns
    own = run.predictions[run.predictions["model"] == ATTENTION].copy()
    for key, rows in by_fold(own, ATTENTION):
        if key not in fitted:
            return None
        scaled = scale_temperature(rows[columns].to_numpy(), fitted[key][0])
        own.loc[rows.index, columns] = scaled
    return own


def calibration_of(
    run: FinishedRun, probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], plan: Resampling
) -> Calibration:
    """Return reliability and calibration metrics before and after temperature scaling."""
    n_bins, columns = n_bins_for(len(labels)), run.probability_columns
    calibrated = calibrated_predictions(run)
    after = None
    if calibrated is not None:
        table = by_patient(calibrated, ATTENTION, columns, ["truth"])
        scaled = table[columns].to_numpy()
        samples = resampled_probabilities(scaled, labels, plan, run.patient_codes(list(table.index)))
        own = named_intervals(samples, ["macro_auroc", *CALIBRATION])
        after = Scaled(bins=reliability(scaled, labels, n_bins), **own)
    return Calibration(
        n_bins=n_bins,
        raw=Reliability(bins=reliability(probabilities, labels, n_bins)),
        temperatures=tuple(
            FoldTemperature(repeat=repeat, fold=fold, temperature=value, n_val=n_val)
            for (repeat, fold), (value, n_val) in temperatures(run).items()
        ),
        calibrated=after,
    )


def conformal_of(run: FinishedRun, labels: Int[np.ndarray, " n"], plan: Resampling) -> Conformal | None:
    """Return coverage and size of prediction sets, out of fold; None where nobody was held out."""
    tested = run.predictions[run.predictions["model"] == ATTENTION]
    known = dict(by_fold(run.validation, ATTENTION))
    if not known or any(key not in known for key, _ in by_fold(tested, ATTENTION)):
        return None
    by_class, common = (
        _sets(run, tested, known, thresholds_of, labels, plan)
        for thresholds_of in (conformal.class_thresholds, conformal.common_thresholds)
    )
    return Conformal(
        coverage_wanted=conformal.COVERAGE, least_patients=conformal.least_patients(conformal.COVERAGE),
        by_class=by_class, common=common,
    )  # fmt: skip


def _sets(
    run: FinishedRun, tested: pd.DataFrame, known: dict[tuple[int, int], pd.DataFrame],
    thresholds_of: conformal.Thresholds, labels: Int[np.ndarray, " n"], plan: Resampling,
) -> SetMetrics:  # fmt: skip
    """Return the prediction sets of one kind of threshold, each fold's from its own held-out training patients."""
    columns = run.probability_columns
    sets, n_always = np.zeros((len(tested), len(columns)), dtype=bool), 0
    for key, rows in by_fold(tested, ATTENTION):
        limits = thresholds_of(known[key][columns].to_numpy(), run.codes(known[key]["truth"]), conformal.COVERAGE)
        n_always += int(np.isinf(limits).sum())
        sets[tested.index.get_indexer(rows.index)] = conformal.prediction_sets(rows[columns].to_numpy(), limits)
    means = _set_means(sets, run.codes(tested["truth"]), tested["patient_id"].to_numpy())
    samples = resample(
        lambda weights: {str(name): means[name].to_numpy() @ weights / weights.sum(axis=0) for name in means}, plan
    )
    patients = run.patient_codes(list(means.index))
    n_independent = len(means) if patients is None else int(patients.max()) + 1
    support = {str(name): share_support(samples.value[str(name)], n_independent, is_count=False) for name in means}
    support["size"] = Support(support["covered"].is_enough)  # a mean number of classes is no share
    covered = means["covered"].to_numpy()
    return SetMetrics(
        **intervals(supported(samples, support)),
        covered_by_class=tuple(
            float(covered[labels == index].mean()) if (labels == index).any() else None for index in range(len(columns))
        ),
        always_included=n_always,
        n_thresholds=len(known) * len(columns),
    )


def _set_means(sets: Bool[np.ndarray, "m k"], truth: Int[np.ndarray, " m"], patients: np.ndarray) -> pd.DataFrame:
    """Return what is averaged over patients, averaged over the repeats of each patient."""
    import pandas as pd

    rows = pd.DataFrame({"covered": sets[np.arange(len(truth)), truth], "size": sets.sum(axis=1)}).astype(float)
    rows["single"], rows["empty"] = (rows["size"] == 1).astype(float), (rows["size"] == 0).astype(float)
    return rows.groupby(patients, sort=True).mean()


def selective_of(probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Selective:
    """Return the accuracy among the most certain patients."""
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    coverage, accuracy = selective_curve(confidence, is_right)
    return Selective(
        curve=tuple((float(kept), float(right)) for kept, right in zip(coverage, accuracy, strict=True)),
        at=tuple(AccuracyAt(coverage=wanted, accuracy=accuracy_at(coverage, accuracy, wanted)) for wanted in COVERAGES),
        area_under_risk=area_under_risk(confidence, is_right),
    )
