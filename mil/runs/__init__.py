"""A run's folder and model files, written and read back.

How the numbers in them come about is not known here.

    run_store.py     what a run folder holds, read back
    model_file.py    safetensors with JSON: no pickle
    figure_names.py  names of metrics and models as they are printed
"""
