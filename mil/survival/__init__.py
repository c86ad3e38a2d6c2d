"""The mathematics of time to an event, pure NumPy and SciPy: Cox's partial likelihood, and what is made of it.

No run, no file, no cohort and no head is known here; concordance, censoring weights and curves are in `metrics`.

    risk_sets.py           who is at risk when, sorted once; sums over risk sets and their transpose
    partial_likelihood.py  loss, gradient, Hessian products and risk-set means: Efron or Breslow ties, strata, entry, weights
    cox_regression.py      regression on a few inputs: errors, tests, Schoenfeld residuals
    ridge_regression.py    regression with a ridge on any number of inputs
    discrete_hazard.py     a log-odds for each interval of time: likelihood, survival, and the one number of a patient
    prognosis.py           a log-hazard as survival over time, median and restricted mean
    risk_groups.py         cut-offs of risk groups, and what they are called
    calibration.py         calibration at a time and over all times
    competing_risks.py     cumulative incidence by Aalen and Johansen
    decision_curve.py      net benefit of treating by predicted risk
"""
