"""Further sections of the report of a survival run.

Their pictures are drawn by `survival_figures.py` beside this room.

    added_value_section.py  what the slides add to the clinic, and whether it is more than the subtype
    incidence_figure.py     end point and competing events over time, by risk group
    regression_sections.py  hazard ratios, competing risks, calibration of the predicted risk
"""
