"""Any column as what is predicted: ordered classes, numbers, several columns at once (classes alone: classification_task.py).

targets_task.py   one or several targets as a task: an epoch, validation, rows of predictions
parts.py          a target by its kind: outputs, loss, what outputs mean, baselines
ordinal_loss.py   ordered classes by conditional probabilities
linear_models.py  logistic regressions in a chain, ridge regression
"""
