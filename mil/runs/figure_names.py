"""The names of figures and models, as they are printed."""

ATTENTION, MEAN_POOL, CLINICAL, PRIOR = "attention", "mean_pool", "clinical", "prior"
COMBINED, JOINT = "combined", "joint"  # further models of a survival run
COMPETING = "competing_event"  # a column of patients.csv
LOG_ODDS = "log_odds_"  # columns of predictions.csv, with the number of the interval from 1
BASELINES = (MEAN_POOL, CLINICAL)  # what the attention model is compared with; the prior is chance

MODEL_NAMES = {
    ATTENTION: "attention MIL",
    MEAN_POOL: "mean-pool baseline",
    CLINICAL: "clinical covariates",
    PRIOR: "class prior",
    COMBINED: "attention MIL and mean pool, averaged",
    JOINT: "image and clinic together",
}

_DISCRIMINATION = {
    "macro_auroc": "macro AUROC",
    "weighted_auroc": "weighted AUROC",
    "macro_average_precision": "macro average precision",
    "weighted_average_precision": "weighted average precision",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "cohen_kappa": "Cohen's kappa",
}
_CALIBRATION = {
    "brier": "Brier score",
    "log_loss": "log loss",
    "ece": "calibration error (ECE)",
    "calibration_slope": "calibration slope",
}
_SURVIVAL = {
    "c_index": "C-index",
    "c_index_within_folds": "C-index within folds",
    "uno_c": "Uno's C",
    "integrated_brier": "integrated Brier score",
}
_TARGETS = {
    "quadratic_kappa": "quadratic-weighted kappa",
    "step_error": "mean error in steps",
    "threshold_auroc": "mean AUROC over thresholds",
    "rps": "ranked probability score",
    "r2": "R2",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "pearson": "Pearson's r",
    "spearman": "Spearman's rho",
    "slope": "slope of observed on predicted",
    "skill": "mean skill of the targets",
}


class _Names(dict[str, str]):
    """Names of metrics; that of one of several targets is the target's and the metric's."""

    def __missing__(self, name: str) -> str:
        target, separator, metric = name.rpartition(OF_TARGET)
        if not separator or metric not in self:
            raise KeyError(name)
        return f"{target}{OF_TARGET}{self[metric]}"


OF_TARGET = ": "  # between a target and its metric
NAMES = _Names(_DISCRIMINATION | _CALIBRATION | _SURVIVAL | _TARGETS)  # in the order of tables
DISCRIMINATION, CALIBRATION = tuple(_DISCRIMINATION), tuple(_CALIBRATION)
LOWER_IS_BETTER = frozenset({"brier", "log_loss", "ece", "integrated_brier", "step_error", "rps", "mae", "rmse"})


def log_odds_columns(n: int) -> list[str]:
    """Return the names of the columns of so many intervals."""
    return [f"{LOG_ODDS}{number}" for number in range(1, n + 1)]


def time_text(time: float) -> str:
    """Return a time in the table's unit, days or years alike: three digits, and all before the point."""
    return f"{time:.0f}" if abs(time) >= 100 else f"{time:.3g}"
