"""From saved out-of-fold predictions to metrics.json and comparison.json.

The formulas are in `metrics`, pictures and words in `report`; nothing is trained here.

    evaluation.py              predictions to metrics.json
    subtype_evaluation.py      the metrics of a subtype run
    survival_evaluation.py     the metrics of a survival run
    survival_probabilities.py  Brier score and AUC over time of a run's survival probabilities
    subgroups.py               the main metrics by site, sex, age, grade
    image_metrics.py           metrics by image for tile tables
    learning_curve.py          metrics over growing parts of the training patients
    comparison.py              two runs on the same patients
"""
