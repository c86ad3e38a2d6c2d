"""Settings searched by inner folds of the training patients, in every fold anew: no test patient is seen (nested).

space.py          what is searched: defaults, study.yaml or a file, checked
inner_search.py   the trials of one fold, replayed where a killed search left them
"""
