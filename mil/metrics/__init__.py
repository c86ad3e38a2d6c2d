"""Numbers about predictions, pure NumPy: arrays in, metrics, intervals and tests out.

No run, no file and no cohort is known here: which metrics a task gets is `evaluation`'s choice.

    classification.py   classification metrics, of a thousand resamples at once
    ordinal.py          metrics of ordered classes: weighted kappa, errors in steps, thresholds
    regression.py       metrics of numbers: errors, R2, correlations, slope
    calibration.py      Brier, log loss, calibration error and slope; temperature scaling
    conformal.py        prediction sets with a promised coverage
    selective.py        accuracy on the most certain patients
    concordance.py      concordance of risks with follow-up
    survival_curves.py  Kaplan-Meier, log-rank, Breslow's baseline hazard
    censoring.py        Uno's C, AUC and Brier score over time
    bootstrap.py        patient bootstrap, BCa intervals
    cross_validated.py  how much wider an interval is where models of folds share patients; what a metric lies between
    support.py          what metrics rest on: enough patients or too few, and exact limits where no resample differs
    delong.py           two AUROCs on the same patients
    paired_tests.py     Holm's correction, bootstrap p, corrected resampled t
"""
