"""The metrics of a subtype run: discrimination by patient, by class, by fold, and what chance reaches.

Fixed beforehand: discrimination is that of the probabilities as the models give them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float64, Int

from common.tables.outcome_names import is_named_like_an_outcome
from mil.evaluation.clusters import plan_of_bags, widening_of
from mil.evaluation.metrics_record import RunMetrics, confusion_of, with_own
from mil.evaluation.subtype_certainty import calibration_of, conformal_of, resampled_probabilities, selective_of
from mil.evaluation.subtype_metrics import ClassMetrics, SubtypeFold, SubtypeMetrics
from mil.evaluation.task import GroupMetrics
from mil.metrics import classification as metrics
from mil.metrics.bootstrap import Resamples, Resampling, intervals, resample, supported
from mil.metrics.calibration import calibration_metrics, recalibrate
from mil.metrics.classification import Weights
from mil.metrics.delong import compare_aurocs
from mil.metrics.paired_tests import holm
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS, class_support
from mil.runs.comparison_record import ClassTest
from mil.runs.figure_names import ATTENTION, CALIBRATION, DISCRIMINATION, PRIOR
from mil.runs.run_store import FinishedRun, by_patient

if TYPE_CHECKING:
    import pandas as pd


class SubtypeEvaluation:
    """The evaluation of class probabilities."""

    named = (*DISCRIMINATION, *CALIBRATION)
    truth = ("truth",)
    metrics_kind = SubtypeMetrics

    def resampling_plan(self, run: FinishedRun, *, n_bootstrap: int, seed: int) -> Resampling:
        """Draw patients inside each class."""
        labels = probabilities_and_labels(run, ATTENTION)[1]
        rng = np.random.default_rng([seed, 71])
        return plan_of_bags(labels, _patients(run, ATTENTION), n_bootstrap, rng, widening_of(run))

    def resampled_metrics(self, run: FinishedRun, model: str, plan: Resampling) -> Resamples:
        """Return discrimination and calibration of a model on a resampling plan."""
        return resampled_probabilities(*probabilities_and_labels(run, model), plan, _patients(run, model))

    def notes(self, run: FinishedRun) -> tuple[str, ...]:
        """Name the classes that no test patient has, and those too small for macro averages and an interval."""
        return (*class_notes(probabilities_and_labels(run, ATTENTION)[1], run.classes), *status_notes(run))

    def chance(self, run: FinishedRun) -> dict[str, float]:
        """Return what can be reached without a look at the slides."""
        labels = probabilities_and_labels(run, ATTENTION)[1]
        prior = probabilities_and_labels(run, PRIOR)[0] if PRIOR in run.models else None
        return chance_metrics(prior, labels, len(run.classes))

    def metrics_of_fold(self, run: FinishedRun, place: tuple[int, int], rows: pd.DataFrame) -> SubtypeFold:
        """Return a fold's discrimination."""
        probabilities, labels = rows[run.probability_columns].to_numpy(), run.codes(rows["truth"])
        values = metrics.classification_metrics(probabilities, labels, metrics.once(len(labels)))
        macro, balanced, plain = (_known(values[name]) for name in ("macro_auroc", "balanced_accuracy", "accuracy"))
        return SubtypeFold(
            repeat=place[0], fold=place[1], n=len(rows), macro_auroc=macro, balanced_accuracy=balanced, accuracy=plain
        )

    def metrics_of_group(
        self, run: FinishedRun, patients: pd.Index, n_bootstrap: int, rng: np.random.Generator
    ) -> GroupMetrics:
        """Return macro AUROC and accuracy of some patients."""
        table = by_patient(run.predictions, ATTENTION, run.probability_columns, ["truth"]).loc[patients]
        labels, probabilities = run.codes(table["truth"]), table[run.probability_columns].to_numpy()
        patient_of = run.patient_codes(list(table.index))
        support = class_support(probabilities, labels, patient_of)
        if not support["macro_auroc"].is_enough:
            of_class = f"no subtype of {MIN_EVENTS} beside {MIN_EVENTS} others"
            return GroupMetrics(why=f"too few: under {MIN_PATIENTS} patients, or {of_class}")

        def main_metrics(weights: Weights) -> dict[str, Float64[np.ndarray, " b"]]:
            own = metrics.classification_metrics(probabilities, labels, weights, least=MIN_EVENTS)
            return {name: own[name] for name in ("macro_auroc", "accuracy")}

        plan = plan_of_bags(labels, patient_of, n_bootstrap, rng, widening_of(run, len(labels)))
        samples = resample(main_metrics, plan)
        return GroupMetrics(metrics=intervals(supported(samples, support)))

    def metrics_of_run(
        self, run: FinishedRun, shared: RunMetrics, attention: Resamples, plan: Resampling
    ) -> SubtypeMetrics:
        """Return what every run has, and classes, confusion, calibration, prediction sets and selective prediction."""
        probabilities, labels = probabilities_and_labels(run, ATTENTION)
        counts = metrics.confusion_matrices(
            probabilities.argmax(axis=1), labels, len(run.classes), metrics.once(len(labels))
        )
        return with_own(
            SubtypeMetrics,
            shared,
            per_class=_per_class(attention, probabilities, labels, run.classes),
            confusion=confusion_of(counts[..., 0], run.classes),
            calibration=calibration_of(run, probabilities, labels, plan),
            conformal=conformal_of(run, labels, plan),
            selective=selective_of(probabilities, labels),
        )

    def tests_by_class(self, first: FinishedRun, second: FinishedRun) -> tuple[ClassTest, ...]:
        """Return DeLong's test of each class's AUROC; none where bags are slides, for it takes them for independent."""
        own, labels = probabilities_and_labels(first, ATTENTION)
        return delong_tests(
            first.classes, own, probabilities_and_labels(second, ATTENTION)[0], labels,
            are_independent=not first.facts.patient_of, widening=widening_of(first),
        )  # fmt: skip


def probabilities_and_labels(run: FinishedRun, model: str) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, " n"]]:
    """Return each test patient's probabilities, averaged over repeats, and class number, in the order of ids."""
    table = by_patient(run.predictions, model, run.probability_columns, ["truth"])
    return table[run.probability_columns].to_numpy(), run.codes(table["truth"])


def _patients(run: FinishedRun, model: str) -> Int[np.ndarray, " n"] | None:
    """Return the patient of each bag in the order of `probabilities_and_labels`; None where bags are patients."""
    return run.patient_codes(list(by_patient(run.predictions, model, [], ["truth"]).index))


def _known(values: Float64[np.ndarray, " b"]) -> float | None:
    return float(values[0]) if np.isfinite(values[0]) else None


def status_notes(run: FinishedRun) -> tuple[str, ...]:
    """Say what is wrong with the status at the end of follow-up as a class, where a run predicts that."""
    columns = [] if run.targets is None else [target.column for target in run.targets.targets]
    return tuple(
        f"{name} is the status at the end of follow-up, as in the 2021 study: who was watched briefly counts as free of the event, "
        "so that figures move with the length of follow-up and not with the model alone; --task survival takes every patient for "
        "as long as he or she was watched, and its AUC over time answers for one moment"
        for name in columns
        if is_named_like_an_outcome(name)
    )


def class_notes(labels: Int[np.ndarray, " n"], classes: tuple[str, ...]) -> tuple[str, ...]:
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
    return tuple(notes)


def chance_metrics(
    prior: Float[np.ndarray, "n k"] | None, labels: Int[np.ndarray, " n"], n_classes: int
) -> dict[str, float]:
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
    chance = {
        "macro_auroc": 0.5, "weighted_auroc": 0.5, "macro_average_precision": float(share[in_macro].mean()),
        "weighted_average_precision": float((share * share).sum()), "balanced_accuracy": float(1 / in_macro.sum()),
        "accuracy": float(share[largest]), "macro_f1": float(in_macro[largest] * f1 / in_macro.sum()),
        "weighted_f1": float(share[largest] * f1), "cohen_kappa": 0.0,
    }  # fmt: skip
    if prior is not None:
        own = calibration_metrics(prior, labels, metrics.once(len(labels)))
        chance |= {name: float(own[name][0]) for name in ("brier", "log_loss", "ece") if np.isfinite(own[name][0])}
    return chance


def _per_class(
    samples: Resamples, probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], classes: tuple[str, ...]
) -> dict[str, ClassMetrics]:
    known = intervals(samples)
    large = recalibrate(probabilities, labels, metrics.once(len(labels)), is_slope_free=False).intercept[0]
    return {
        name: ClassMetrics(
            n=int((labels == index).sum()),
            auroc=known[f"auroc:{index}"],
            average_precision=known[f"average_precision:{index}"],
            calibration_intercept=_known(large[index : index + 1]),
        )
        for index, name in enumerate(classes)
    }


def delong_tests(
    classes: tuple[str, ...], first: Float[np.ndarray, "n k"], second: Float[np.ndarray, "n k"],
    labels: Int[np.ndarray, " n"], *, are_independent: bool = True, widening: float = 1.0,
) -> tuple[ClassTest, ...]:  # fmt: skip
    """Test whether two models have the same AUROC in each class; none of too few patients, as of an interval.

    The standard error is widened as an interval is (`mil.metrics.cross_validated`).
    """
    nothing = {"first": None, "second": None, "standard_error": None, "z": None, "p": None}
    rows = []
    for index in range(len(classes)):
        is_class = labels == index
        is_defined = (
            are_independent and len(labels) >= MIN_PATIENTS and min(is_class.sum(), (~is_class).sum()) >= MIN_EVENTS
        )
        compared = compare_aurocs(first[:, index], second[:, index], is_class, widening) if is_defined else None
        rows.append(nothing if compared is None else asdict(compared))
    return tuple(
        ClassTest(class_name=name, n=int((labels == index).sum()), p_holm=adjusted, **row)
        for index, (name, row, adjusted) in enumerate(zip(classes, rows, holm([row["p"] for row in rows]), strict=True))
    )
