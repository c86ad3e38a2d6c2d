"""What is not independent: slides of a patient, who is drawn with all of them, and models of folds that share training patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Int, Int64

from mil.metrics.bootstrap import Resampling, plan_resampling
from mil.metrics.cross_validated import widening
from mil.runs.figure_names import ATTENTION
from mil.runs.run_store import FinishedRun


def plan_of_bags(
    labels: Int[np.ndarray, " n"], patient_of: Int[np.ndarray, " n"] | None, n_bootstrap: int, rng: np.random.Generator,
    widening: float = 1.0,
) -> Resampling:  # fmt: skip
    """Return how often each bag is drawn: as often as its patient, and patients are drawn inside classes.

    A patient whose bags have several labels stands in the stratum of the one that the fewest patients have.

    Args:
        labels: the class of each bag.
        patient_of: the patient of each bag, 0 to the number of patients less 1; None where each is a patient's own.
        n_bootstrap: number of bootstraps.
        rng: draws.
        widening: of the intervals (`widening_of`).
    """
    if patient_of is None:
        return plan_resampling(labels, n_bootstrap, rng, widening)
    plan = plan_resampling(patient_strata(labels, patient_of), n_bootstrap, rng, widening)
    return replace(plan, counts=plan.counts[patient_of], group_of=plan.group_of[patient_of])


def patient_strata(labels: Int[np.ndarray, " n"], patient_of: Int[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """Return the label of each patient, of several the one that the fewest patients have (then the first)."""
    pairs = np.unique(np.stack([patient_of, labels], axis=1), axis=0)
    n_patients = np.bincount(pairs[:, 1])
    order = np.lexsort((pairs[:, 1], n_patients[pairs[:, 1]], pairs[:, 0]))
    _, first = np.unique(pairs[order, 0], return_index=True)
    return pairs[order][first, 1].astype(np.int64)


def widening_of(run: FinishedRun, n_tested: int | None = None) -> float:
    """Return how much wider intervals of a run are because its folds share training patients; 1 where one model tested everybody.

    Args:
        run: with its predictions.
        n_tested: bags that the figure is of; None: all that were tested.
    """
    tested = run.predictions[run.predictions["model"] == ATTENTION]
    sizes = tested.groupby(["repeat", "fold"])["patient_id"].nunique()
    if len(sizes) < 2:
        return 1.0
    n_bags = tested["patient_id"].nunique()
    trained = [fold.n_train + fold.n_val for fold in run.facts.folds if fold.n_test]
    n_train = float(np.mean(trained) if trained else n_bags - sizes.mean())  # of a run without models: all others
    return widening(n_bags if n_tested is None else n_tested, n_train)
