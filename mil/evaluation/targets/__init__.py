"""The metrics of runs with targets of their own: ordered classes, numbers, several columns at once.

targets_evaluation.py  the evaluation: what is resampled, by fold, by subgroup
judged_targets.py      a target's patients, and its metrics in every resample
targets_metrics.py     what metrics.json holds for such a run
"""
