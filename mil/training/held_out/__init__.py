"""Predictions of training patients by models that never saw them: what temperatures, prediction sets and cut-offs need.

inner_folds.py    the training patients of a fold dealt to inner folds, and who may be held out
risk_scale.py     scale and cut-offs of log-hazards, from training patients
cross_fitting.py  a model for each inner fold, and what it predicts for the patients it never saw
"""
