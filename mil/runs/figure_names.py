"""The names of figures and models, as they are printed."""

ATTENTION, MEAN_POOL, CLINICAL, PRIOR = "attention", "mean_pool", "clinical", "prior"
COMBINED, JOINT = "combined", "joint"  # further models of a survival run
COMPETING = "competing_event"  # a column of patients.csv
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
NAMES = _DISCRIMINATION | _CALIBRATION | _SURVIVAL  # in the order of tables
DISCRIMINATION, CALIBRATION = tuple(_DISCRIMINATION), tuple(_CALIBRATION)
LOWER_IS_BETTER = frozenset({"brier", "log_loss", "ece", "integrated_brier"})


def time_text(time: float) -> str:
    """Return a time in the table's unit, days or years alike: three digits, and all before the point."""
    return f"{time:.0f}" if abs(time) >= 100 else f"{time:.3g}"
