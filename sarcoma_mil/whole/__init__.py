"""A study from slides to reports in one go: what is missing is made, step by step, each by its own script.

Knows what each step reads and leaves; how it does its work, the step alone knows.

    run_settings.py    the settings of run
    code_version.py    what tells that the program is another than the one that made a result
    step_stamps.py     what a step was made of and left, so that it need not be started to know that it is done
    study_steps.py     the steps of a study: what each reads and leaves, and why one is left out
    table_tasks.py     which tasks a clinical table allows
    step_calls.py      a step as a process of its own
    whole_run.py       the steps in order, to the table of results
    slide_forecast.py  how much tissue a slide has, told from a coarse overview; tiling tried on one slide
    rates.py           how fast this machine embeds and trains, tried for some seconds
    forecast.py        what is there, what is missing, and what that will take (--dry_run)
"""
