"""A clinical table read, and what its columns mean.

What is asked of a whole cohort stands in `cohort.py` beside the rooms, which puts these together.

    clinical_table.py  a table file (CSV, TSV, Excel, Parquet) as rows of text
    column_mapping.py  the table's names, words and units as ours, by the section `columns`
    study_notes.py     what study.yaml says of the study: what bears a label, where the data come from
    patient_table.py   a second table of one row a patient, joined to that of slides
    given_sets.py      the sets of the 2021 notebook's tables
    study_slides.py    the slides of a study: files of its folder, and addresses of the column slide_url
    cohort_columns.py  the columns: what each may hold, its type, and every fault in its rows
    outcome_names.py   names of columns that are known only after the outcome
    target_columns.py  what a column is as something to predict: classes, ordered classes or numbers
"""
