"""Parts of the metrics of a survival run beside its concordance.

The formulas are in the room `survival`; here a run's tables go into them.

    clinical_inputs.py    covariates of the tested patients as numbers
    predicted_hazards.py  cumulative hazards of test patients, by the head itself or by log-hazard and baseline
    added_value.py        what the slides add to the clinic: joint model, likelihood ratio, hazard ratios, C inside groups
    calibration_parts.py  calibration of the predicted survival at chosen times and over all, decision curve
    competing_parts.py    cumulative incidence where competing events are known
    records.py            what metrics.json holds of it
"""
