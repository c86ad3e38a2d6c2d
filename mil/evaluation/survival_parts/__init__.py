"""Parts of the metrics of a survival run beside its concordance.

clinical_inputs.py    covariates of the tested patients as numbers
added_value.py        what the slides add to the clinic: joint model, likelihood ratio, hazard ratios, C inside groups
calibration_parts.py  calibration of the predicted survival at chosen times and over all
records.py            what metrics.json holds of it
"""
