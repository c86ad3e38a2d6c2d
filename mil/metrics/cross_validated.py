"""What an interval of cross-validated figures must allow for beside its test patients: that the models share training patients.

A bootstrap of out-of-fold predictions takes the scores as given. But the models of the folds learnt from nearly the same
patients, and what each says of its own test patients depends on the outcomes of all the others, so that figures of the same
method on another cohort of this size vary more than the bootstrap sees: of linear models on noise (80 patients, five folds), its
95 % interval holds 0.5 in 81 to 88 % of cohorts (benchmarks/README.md). Nadeau and Bengio (2003, Mach Learn 52:239) put the
variance of a mean over J test parts at (1 / J + n_test / n_train) s^2 instead of s^2 / J. Of patients who are each tested once,
J n_test of them, this is the bootstrap's variance times 1 + n_tested / n_train.
"""

from __future__ import annotations

import math

UNIT, SIGNED = (0.0, 1.0), (-1.0, 1.0)
FROM_0, TO_1 = (0.0, math.inf), (-math.inf, 1.0)
ANY = (-math.inf, math.inf)
_RANGES = {
    **dict.fromkeys(
        (
            "auroc", "average_precision", "macro_auroc", "weighted_auroc", "macro_average_precision",
            "weighted_average_precision", "balanced_accuracy", "accuracy", "macro_f1", "weighted_f1", "ece", "vote_accuracy",
            "c_index", "c_index_within_folds", "uno_c", "auc", "integrated_brier", "reference", "covered", "single",
            "threshold_auroc",
        ),
        UNIT,
    ),
    **dict.fromkeys(("cohen_kappa", "quadratic_kappa", "pearson", "spearman"), SIGNED),
    **dict.fromkeys(("brier", "log_loss", "step_error", "rps", "mae", "rmse", "size"), FROM_0),
    **dict.fromkeys(("r2", "skill"), TO_1),
}  # fmt: skip


def widening(n_tested: int, n_train: float) -> float:
    """Return what a bootstrap interval of cross-validated figures is multiplied by, about the figure.

    Args:
        n_tested: patients who were tested, each by a model that did not see them.
        n_train: training patients of a model, the mean of the folds.
    """
    return math.sqrt(1 + n_tested / n_train)


def range_of(name: str) -> tuple[float, float]:
    """Return what a metric lies between, by its name: `auroc:2`, `auroc 2` and `grade: auroc` are AUROCs."""
    base = name.rpartition(": ")[2].replace(":", " ").split(" ")[0]
    return _RANGES.get(base, ANY)
