"""Synthetic slides and patients with known truth, for the demonstration and the tests.

Nothing of the pipeline reads this room: a painted slide goes through it as any other.

    looks.py             what tissues and nuclei look like, in numbers
    painter.py           paints stain densities of tissue
    layout.py            where tissue, classes, pen and folds lie on a slide
    further_layout.py    where red cells, look-alikes of tumours, open fat, lumina, shadows and their like lie
    further_painter.py   paints them
    scanner.py           staining, optics and the pyramid of a scanner
    slide_and_truth.py   one slide and its truth, written
    synthetic_cohort.py  the patients of the synthetic study
    demo_study.py        the synthetic study: slides, clinical table, truth
    demo_settings.py     the settings of make_demo_study.py
"""
