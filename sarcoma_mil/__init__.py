"""One command over all steps: `sarcoma-mil tile` is preprocessing/tile_slides.py, with its options, its help and its exit codes.

Above every stage: it calls them, and none knows it. What a step does stands in its stage, never here.

    command.py       the first word: help, version, a step, or what was meant
    steps.py         the words, and which module and settings each is
    completion.py    completions for bash, zsh and tcsh
    init.py, run.py, demo.py, doctor.py    the steps that no script stands for
    __main__.py      the command run by path or by -m
"""
