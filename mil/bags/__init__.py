"""Patient bags out of feature files.

Labels and folds are not known here; bags are packed for training in `training`.

    bags.py  all slides of a patient in the order of their ids, each tile's slide known
"""
