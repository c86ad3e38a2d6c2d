"""The metrics of a survival run: concordance of pooled scores and within folds, and risk groups, by patient.

Risks of different folds are not on one scale, so the C-index is of the score standardised by each fold's training patients;
the C-index within folds compares only pairs of one fold and needs no common scale. Uno's C weighs pairs by the chance of
not being censored, from training patients.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int

from mil.evaluation.clusters import widening_of
from mil.evaluation.metrics_record import RunMetrics, with_own
from mil.evaluation.survival_metrics import RiskGroup, RiskGroups, SurvivalFold, SurvivalMetrics
from mil.evaluation.survival_parts.added_value import cox_tables, further_models, inside_groups
from mil.evaluation.survival_parts.calibration_parts import calibration_of, follow_up_of
from mil.evaluation.survival_parts.competing_parts import incidence_of
from mil.evaluation.survival_parts.predicted_hazards import numbers_of_intervals
from mil.evaluation.survival_parts.records import SurvivalParts
from mil.evaluation.survival_probabilities import evaluate_over_time, horizon, over_time
from mil.evaluation.task import GroupMetrics
from mil.metrics.bootstrap import Resamples, Resampling, intervals, plan_resampling, resample, supported
from mil.metrics.censoring import uno_c
from mil.metrics.classification import Weights
from mil.metrics.concordance import c_index, concordances, concordances_within
from mil.metrics.support import (
    MIN_EVENTS,
    MIN_PATIENTS,
    has_enough_events,
    independent_pairs,
    survival_support,
)
from mil.metrics.survival_curves import log_rank_p
from mil.runs.figure_names import ATTENTION, BASELINES, COMBINED, JOINT
from mil.runs.run_store import FinishedRun, by_patient
from mil.survival.risk_groups import agreed_groups, group_names, n_groups

OF_ENTRY = (
    "patients are at risk from their entry on in the likelihood of the training alone; C-indices, Kaplan-Meier curves and "
    "Brier scores take them as followed from the start"
)
OF_STRATA = "survival probabilities use one baseline hazard for all strata, though log-hazards are compared inside a stratum alone"


class SurvivalEvaluation:
    """The evaluation of log-hazards."""

    named = ("c_index", "c_index_within_folds", "uno_c")
    truth = ("time", "event")
    metrics_kind = SurvivalMetrics

    def resampling_plan(self, run: FinishedRun, *, n_bootstrap: int, seed: int) -> Resampling:
        """Draw patients among those with the event and among the censored."""
        event = by_patient(run.predictions, ATTENTION, [], ["event"])["event"].to_numpy(int)
        return plan_resampling(event, n_bootstrap, np.random.default_rng([seed, 72]), widening_of(run))

    def resampled_metrics(self, run: FinishedRun, model: str, plan: Resampling) -> Resamples:
        """Return the concordances of a model on a resampling plan."""
        table = by_patient(run.predictions, model, ["score"], ["time", "event"])
        score, time, event = _arrays(table)
        own = run.predictions[run.predictions["model"] == model].sort_values(["repeat", "patient_id"], kind="stable")
        place = table.index.get_indexer(pd.Index(own["patient_id"]))
        own_risk, own_time, own_event = (own[name].to_numpy(float) for name in ("log_hazard", "time", "event"))
        stratum = own.groupby(["repeat", "fold"], sort=True).ngroup().to_numpy()
        known = over_time(run)

        def metrics(weights: Weights) -> dict[str, Float64[np.ndarray, " b"]]:
            values = {
                "c_index": concordances(score, time, event, weights),
                "c_index_within_folds": concordances_within(own_risk, own_time, own_event, stratum, weights[place]),
            }
            if known is not None:
                values["uno_c"] = uno_c(score, time, event, known.uncensored, horizon(run), weights)
            return values

        samples = resample(metrics, plan)
        within = [
            independent_pairs(own_time[stratum == each], own_event[stratum == each]) for each in np.unique(stratum)
        ]
        pairs = {
            "c_index": independent_pairs(time, event),
            "c_index_within_folds": sum(within) / own["repeat"].nunique(),
            "uno_c": independent_pairs(time, event, horizon(run)) if known is not None else 0.0,
        }
        return supported(samples, survival_support(samples.value, pairs, event))

    def notes(self, run: FinishedRun) -> tuple[str, ...]:
        """Return what late entry and strata leave undone."""
        said = (("entry", OF_ENTRY), ("strata", OF_STRATA))
        return tuple(f"{run.facts.settings[key]}: {words}" for key, words in said if run.facts.settings.get(key))

    def chance(self, run: FinishedRun) -> dict[str, float]:
        """Return what any order of patients that knows nothing of them reaches."""
        return {"c_index": 0.5, "c_index_within_folds": 0.5, "uno_c": 0.5}

    def metrics_of_fold(self, run: FinishedRun, place: tuple[int, int], rows: pd.DataFrame) -> SurvivalFold:
        """Return a fold's concordance."""
        time, event = rows["time"].to_numpy(float), rows["event"].to_numpy(int)
        value = c_index(rows["log_hazard"].to_numpy(float), time, event)
        return SurvivalFold(
            repeat=place[0], fold=place[1], n=len(rows), events=int(event.sum()),
            c_index=value if np.isfinite(value) else None,
        )  # fmt: skip

    def metrics_of_group(
        self, run: FinishedRun, patients: pd.Index, n_bootstrap: int, rng: np.random.Generator
    ) -> GroupMetrics:
        """Return the C-index of some patients."""
        table = by_patient(run.predictions, ATTENTION, ["score"], ["time", "event"]).loc[patients]
        score, time, event = _arrays(table)
        n_events = int(event.sum())
        if not has_enough_events(event):
            why = f"too few: under {MIN_PATIENTS} patients or under {MIN_EVENTS} events"
            return GroupMetrics(events=n_events, why=why)
        samples = resample(
            lambda weights: {"c_index": concordances(score, time, event, weights)},
            plan_resampling(event, n_bootstrap, rng, widening_of(run, len(event))),
        )
        support = survival_support(samples.value, {"c_index": independent_pairs(time, event)}, event)
        return GroupMetrics(events=n_events, metrics=intervals(supported(samples, support)))

    def metrics_of_run(
        self, run: FinishedRun, shared: RunMetrics, attention: Resamples, plan: Resampling
    ) -> SurvivalMetrics:  # fmt: skip
        """Return what every run has, and survival over time and risk groups."""
        patients = by_patient(run.predictions, ATTENTION, ["score", "risk_group"], ["time", "event", "fold"])
        _, time, event = _arrays(patients)
        group = group_of_patients(patients)
        groups = RiskGroups(
            groups=tuple(
                RiskGroup(name=name, n=int((group == index).sum()), events=int(event[group == index].sum()))
                for index, name in enumerate(risk_group_names(run))
            ),
            parted_by=_parted_by(run),
            log_rank_p=log_rank_p(time, event, group, plan.widening),
        )
        return with_own(
            SurvivalMetrics,
            shared,
            n_events=int(event.sum()),
            over_time=evaluate_over_time(run, plan),
            risk_groups=groups,
            parts=self._parts(run, attention, plan, group),
        )

    def _parts(
        self, run: FinishedRun, attention: Resamples, plan: Resampling, group: Int[np.ndarray, " n"]
    ) -> SurvivalParts:
        """Return what stands beside concordance: further models, hazard ratios, groups, follow-up, calibration."""
        # a model that a fold could not be given (no held-out event) is not one of all tested patients, and has no figure
        n_rows = run.predictions["model"].value_counts()
        everyone = n_rows[ATTENTION]
        models = [model for model in (ATTENTION, *BASELINES, COMBINED, JOINT) if n_rows.get(model, 0) == everyone]
        samples = {
            model: attention if model == ATTENTION else self.resampled_metrics(run, model, plan) for model in models
        }
        alone, adjusted, ratio = cox_tables(run)
        calibration = calibration_of(run)
        return SurvivalParts(
            models=further_models(samples, self.named), alone=alone, adjusted=adjusted, likelihood_ratio=ratio,
            inside_groups=inside_groups(run, models, plan), follow_up=follow_up_of(run),
            calibration=calibration.at, d_calibration=calibration.over_all, decision=calibration.decision,
            incidence=incidence_of(run, group, risk_group_names(run)), n_intervals=numbers_of_intervals(run),
        )  # fmt: skip

    def tests_by_class(self, first: FinishedRun, second: FinishedRun) -> None:
        """Nothing: there are no classes."""


def _arrays(patients: pd.DataFrame) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], np.ndarray]:
    """Return score, time and event."""
    return patients["score"].to_numpy(float), patients["time"].to_numpy(float), patients["event"].to_numpy(int)


def group_of_patients(patients: pd.DataFrame) -> Int[np.ndarray, " n"]:
    """Return the risk group of each patient, by that of most repeats (see `agreed_groups`).

    Args:
        patients: risk_group and score of each, averaged over repeats.
    """
    return agreed_groups(patients["risk_group"].to_numpy(float), patients["score"].to_numpy(float))


def risk_group_names(run: FinishedRun) -> tuple[str, ...]:
    """Return what the risk groups of a run are called, the lowest first."""
    return group_names(n_groups(_parted_by(run)))


def _parted_by(run: FinishedRun) -> str:
    return str(run.facts.settings.get("risk_groups") or "median")
