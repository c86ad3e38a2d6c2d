"""Patients to folds: stratified, repeated, patient-level, saved and checked against the cohort."""
