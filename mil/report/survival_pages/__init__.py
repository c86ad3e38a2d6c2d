"""Further sections of the report of a survival run.

added_value_section.py  what the slides add to the clinic, and whether it is more than the subtype
regression_sections.py  hazard ratios, calibration of the predicted risk
"""
