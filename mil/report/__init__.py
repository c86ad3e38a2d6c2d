"""The HTML report of a run and its pictures, made from what the run folder holds and nothing else.

No metric is computed here.

    report.py              the page, put together and written
    task.py                what a task brings to the report
    blocks.py              sections, paragraphs, tables, pictures as values
    templates/             their markup and the page's style
    methods_sections.py    cohort and methods: flow, folds, audit, settings, encoder, versions
    result_sections.py     results of every task: discrimination, folds, subgroups, learning curve
    subtype_sections.py    the own sections of a subtype run: calibration, prediction sets, selective prediction
    survival_sections.py   the own sections of a survival run: risk groups, survival over time; survival_pages/ has more
    targets/               the report of ordered classes, numbers and several columns
    context/               who the patients are, and what others reported
    search/                what was searched and chosen in each fold
    comparison_section.py  the comparison with another run
    image_section.py       results by image
    verdict.py             what was found, in words and for the screen
    figures.py             every picture of a run, with its numbers
    drawing.py             axes, colours and SVG text of every picture
    subtype_figures.py     confusion, ROC, reliability, selective accuracy
    survival_figures.py    Kaplan-Meier curves with bands, scores beside follow-up, hazard ratios, calibration
    training_figures.py    loss by epoch, learning curve
"""
