"""What the slides add: models of several scores, hazard ratios, a likelihood-ratio test, and C inside groups.

All scores are out of fold. The regressions here are fitted to the tested patients, to say how far a score goes with the outcome
beside the covariates; the C-indices of the joint model are of models fitted to each fold's training patients.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mil.evaluation.metrics_record import Named
from mil.evaluation.survival_parts.clinical_inputs import ClinicalInputs, clinical_inputs
from mil.evaluation.survival_parts.records import (
    CoxTable,
    FurtherModel,
    HazardRatio,
    InsideGroups,
    LikelihoodRatio,
)
from mil.metrics.bootstrap import Metrics, Resamples, Resampling, intervals, named_intervals, resample, supported
from mil.metrics.concordance import concordances_within
from mil.metrics.support import has_enough_events, independent_pairs, ranking_support
from mil.runs.figure_names import ATTENTION, CLINICAL, COMBINED, JOINT, MEAN_POOL
from mil.runs.run_store import FinishedRun, blank_as_missing, by_patient
from mil.survival.cox_regression import CoxRegression, cox_regression, likelihood_ratio_p, proportionality_p
from mil.survival.risk_sets import RiskSets, risk_sets

NORMAL_975 = 1.959963984540054
MOST_LOG_RATIO = 50.0  # an interval that reaches beyond says nothing: so few events leave the coefficient free
PARTS = {COMBINED: (ATTENTION, MEAN_POOL), JOINT: (ATTENTION, CLINICAL)}  # what each further model is made of


def further_models(samples: Mapping[str, Resamples], names: tuple[str, ...]) -> dict[str, FurtherModel]:
    """Return the metrics of the further models, and the differences to the models they are made of.

    Args:
        samples: of every model on one resampling plan.
        names: of the metrics.
    """
    return {
        model: FurtherModel(
            figures=named_intervals(samples[model], names),
            differences={
                part: named_intervals(samples[model].minus(samples[part]), names) for part in parts if part in samples
            },
        )
        for model, parts in PARTS.items()
        if model in samples
    }


def cox_tables(run: FinishedRun) -> tuple[CoxTable | None, CoxTable | None, LikelihoodRatio | None]:
    """Return the regression on the score alone, on score and covariates, and the test that the score adds to these.

    Nothing without two events among the tested patients; no second and third without covariates.
    """
    table = by_patient(run.predictions, ATTENTION, ["score"], ["time", "event"])
    time, event = table["time"].to_numpy(float), table["event"].to_numpy(int)
    if event.sum() < 2 or table["score"].std() == 0:
        return None, None, None
    score = table["score"].to_numpy(float)
    own = ClinicalInputs(("image score, a standard deviation",), ((score - score.mean()) / score.std())[:, None])
    clinic = clinical_inputs(run, table.index)
    stratum = _strata(run, table.index) if run.facts.settings.get("strata") else None
    ties = str(run.facts.settings.get("ties", "efron"))
    return added_value(own, clinic, risk_sets(time, event, ties=ties, stratum=stratum), time)


def _strata(run: FinishedRun, patients: pd.Index) -> Int[np.ndarray, " n"]:
    """Return the stratum of each patient as a number."""
    names = run.patients.set_index("patient_id")[str(run.facts.settings["strata"])].reindex(patients).astype(str)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def added_value(
    image: ClinicalInputs, clinic: ClinicalInputs, sets: RiskSets, time: Float64[np.ndarray, " n"]
) -> tuple[CoxTable, CoxTable | None, LikelihoodRatio | None]:
    """Return `cox_tables` of inputs as they are.

    Args:
        image: one column, the score; out of fold, or the test is of how well a model remembers.
        clinic: covariates.
        sets: the follow-up.
        time: of each patient, for the check of proportional hazards.
    """
    alone = _table(image.names, cox_regression(image.values, sets), sets, time)
    if not clinic.names:
        return alone, None, None
    both = cox_regression(np.column_stack([image.values, clinic.values]), sets)
    statistic, p = likelihood_ratio_p(cox_regression(clinic.values, sets), both, image.values.shape[1])
    adjusted = _table((*image.names, *clinic.names), both, sets, time)
    return alone, adjusted, LikelihoodRatio(statistic=statistic, p=p)


def _table(names: tuple[str, ...], fitted: CoxRegression, sets: RiskSets, time: Float64[np.ndarray, " n"]) -> CoxTable:
    ranks = pd.Series(time[sets.order[sets.events]]).rank().to_numpy()
    each, together = proportionality_p(fitted, ranks)
    rows, p, errors = [], fitted.wald_p(), fitted.standard_errors
    for index, name in enumerate(names):
        value, half = float(fitted.coefficients[index]), NORMAL_975 * float(errors[index])
        is_known = not fitted.is_endless[index] and errors[index] > 0 and abs(value) + half < MOST_LOG_RATIO
        limits = [float(np.exp(each)) if is_known else None for each in (value, value - half, value + half)]
        change = float(each[index])
        rows.append(
            HazardRatio(
                name=name,
                value=limits[0],
                low=limits[1],
                high=limits[2],
                p=float(p[index]) if is_known else None,
                proportional_p=change if is_known and np.isfinite(change) else None,
            )
        )
    return CoxTable(
        n=sets.n, events=len(sets.events), rows=tuple(rows),
        proportional_p=together if np.isfinite(together) else None, events_per_input=len(sets.events) / len(names),
    )  # fmt: skip


def inside_groups(run: FinishedRun, models: list[str], plan: Resampling) -> InsideGroups | None:
    """Return C of pairs inside a group for every model; None where groups are not known, or there is one.

    The groups are those of `--strata`, else the subtypes.
    """
    column = str(run.facts.settings.get("strata") or "subtype")
    if column not in run.patients.columns:
        return None
    table = by_patient(run.predictions, ATTENTION, [], ["time", "event"])
    names = blank_as_missing(run.patients.set_index("patient_id")[column].reindex(table.index))
    known = np.flatnonzero(names.notna().to_numpy())
    groups = {str(name): int(count) for name, count in names.value_counts().sort_index().items()}
    if len(groups) < 2:
        return None
    time, event = table["time"].to_numpy(float), table["event"].to_numpy(int)
    codes: Int[np.ndarray, " n"] = np.unique(names.iloc[known].astype(str), return_inverse=True)[1]
    pairs = sum(
        independent_pairs(time[known][codes == code], event[known][codes == code]) for code in range(len(groups))
    )
    found: Named = {}
    for model in models:
        score = by_patient(run.predictions, model, ["score"], ["time"])["score"].to_numpy(float)
        samples = resample(_inside(score[known], time[known], event[known], codes, known), plan)
        support = ranking_support(samples.value["c_index"], pairs, is_enough=has_enough_events(event[known]))
        found[model] = intervals(supported(samples, {"c_index": support}))["c_index"]
    return InsideGroups(column=column, n=len(known), groups=groups, c_index=found)


def _inside(
    score: Float64[np.ndarray, " m"],
    time: Float64[np.ndarray, " m"],
    event: Int[np.ndarray, " m"],
    codes: Int[np.ndarray, " m"],
    known: Int[np.ndarray, " m"],
) -> Metrics:
    """Return the C of pairs inside groups as a function of the weights of all tested patients."""
    return lambda weights: {"c_index": concordances_within(score, time, event, codes, weights[known])}
