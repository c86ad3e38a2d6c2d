"""What survival training works on: end points out of the clinical table, and models that need no epochs.

The task itself is `survival_task.py` beside this room.

    survival_targets.py  follow-up of each patient: time, event, entry, stratum, weight, and the risk sets made of them
    end_points.py        the columns of an end point, in months, cut at a horizon
    cox_steps.py         epochs and losses of Cox's partial likelihood
    interval_steps.py    epochs and losses of the logistic hazard, and what its outputs say
    linear_fit.py        the linear head fitted as Cox regression, by Newton's method
    joint_models.py      image and clinic in one Cox model, attention and mean pool averaged
    risk_rows.py         rows of the tables of predictions
"""
