"""A trained model run on slides or features, with or without labels: tables, pages, and how far to trust each answer.

How a model is made stands in `models`, how it is explained in `explanation`.

    settings.py        the settings of predict.py
    new_slides.py      slide files to features made as the model's were, in a study folder of its own
    familiar.py        how unlike the training cohort a patient's slides are, and why
    predicting.py      what a model says of each patient, with the share of each slide and what to beware of
    written.py         predictions.csv, predictions.json and pages
    pages.py           the page that lists the patients, and one of each
    labelled.py        the evaluation of predictions of patients whose labels are known
    prediction_run.py  all of predict.py in its order
"""
