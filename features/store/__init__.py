"""Embeddings on the disk: the feature file, and the log from which an interrupted one is continued.

Files of other tools are read and written in `exchange`.

    feature_store.py  the feature file
    feature_log.py    embeddings on their way to their file: found again after a kill
    provenance.py     what made embeddings: written with each file, read back, compared
"""
