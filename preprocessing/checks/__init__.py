"""What is wrong with a study or an installation, found before hours of compute; reads only.

Checks of single values stand where the value is read (cohort, scale, settings); here they are put to use at once.

    slide_checks.py    every slide opened and tried, table, folds, scales and space held against each other
    installation.py    what this machine has: packages, formats, weights, devices
    elsewhere.py       slides that lie elsewhere: asked for, not fetched
    study_check.py     a whole study looked over, and the findings as text
    check_settings.py  the settings of check_study.py
"""
