"""From targets, folds and bags to out-of-fold predictions.

Predictions are judged in `evaluation`; here nothing looks at a test patient but to predict it.

    training_settings.py    the settings of train.py
    preparation.py          what a run works on, checked before it trains
    cohort_flow.py          who left the analysis where, and why
    classification_task.py  classes as a task: an epoch, validation, rows of predictions
    survival_task.py        survival as a task: event-stratified batches or the exact gradient of all, rows of predictions
    targets/                any column as what is predicted
    search/                 settings searched by inner folds, in every fold anew
    packed.py               bags for training and prediction: drawing, standardising, predicting them
    fitting.py              training of one fold over its whole schedule
    cross_validation.py     all folds, resumable, out of fold
    baseline.py             penalised logistic and Cox regression
    covariates.py           clinical covariates of the baseline without slides
    nested_plans.py         nested parts of the training patients, for the learning curve
    image_predictions.py    predictions by image for tile tables
    task.py                 what a task brings to training
    fold_crew.py            who trains the folds: this process or workers beside it, with other runs, or a cluster
    fold_store.py           what folds leave in a run folder
"""
