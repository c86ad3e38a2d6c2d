"""Tasks: what can be predicted, each a value that brings its training, its evaluation and its report.

The rooms below receive the part that concerns them and look up no name.

    task.py      the value
    subtype.py   the subtype of each patient
    survival.py  time to an event
    registry.py  name to task
    targets.py   a task made of columns: by --target, by study.yaml, and that of a finished run
"""
