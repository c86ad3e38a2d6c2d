"""A run's folder and model files, written and read back.

How the numbers in them come about is not known here.

    run_folder.py         the name of every file in a run folder
    run_store.py          what a run folder holds, read once
    bare_run.py           predictions that no training made, as a run
    run_tables.py         its tables: their checksums and their rules
    facts.py              what is known of a run and its folds: run.json, models/*.json
    audit_record.py       what audit.json holds, written and read back
    search_record.py      what search.json and the log of a fold's search hold; search.csv
    target_tables.py      the rules of the tables of a run with targets of its own
    targets_record.py     what task.json holds: what a run predicts, and the columns of its tables
    heads_record.py       what heads.json holds, written and read back
    comparison_record.py  what comparison.json holds, written and read back
    notices.py            what stands on every page that shows results
    record.py             frozen dataclasses as JSON and back, strictly
    model_file.py         safetensors with JSON: no pickle
    figure_names.py       names of metrics and models as they are printed
"""
