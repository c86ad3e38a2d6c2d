"""From saved out-of-fold predictions to metrics.json and comparison.json.

The formulas are in `metrics`, pictures and words in `report`; nothing is trained here.

    evaluation.py              every metric of a run
    task.py                    what a task brings to the evaluation
    metrics_record.py          what metrics.json holds for every task, written and read back
    subtype_evaluation.py      the metrics of a subtype run
    subtype_certainty.py       its calibration, prediction sets and selective prediction
    subtype_metrics.py         what metrics.json holds for it
    survival_evaluation.py     the metrics of a survival run
    survival_probabilities.py  Brier score and AUC over time of a run's survival probabilities
    survival_metrics.py        what metrics.json holds for a survival run
    targets/                   the metrics of ordered classes, numbers and several columns
    subgroups.py               the main metrics by site, sex, age, grade
    clusters.py                what is not independent: slides of a patient, models of folds
    image_metrics.py           metrics by image for tile tables
    learning_curve.py          the main metric over growing parts of the training patients
    comparison.py              two runs on the same patients
    heads_comparison.py        several heads on the same folds
"""
