"""The HTML report of a run and its figures, made from what the run folder holds and nothing else.

No metric is computed here.

    report.py              the page, put together
    blocks.py              style, sections, tables, figures; everything escaped
    methods_sections.py    cohort and methods: flow, folds, audit, settings, encoder, versions
    result_sections.py     results: discrimination, calibration, prediction sets, subgroups
    comparison_section.py  the comparison with another run
    image_section.py       results by image
    verdict.py             what was found, in words and for the screen
    figures.py             every figure of a run as SVG, with its data as CSV
    drawing.py             axes, colours and SVG text of every figure
    subtype_figures.py     confusion, ROC, reliability, selective accuracy
    survival_figures.py    Kaplan-Meier curves of the risk groups, scores beside follow-up
    training_figures.py    loss by epoch, learning curve
"""
