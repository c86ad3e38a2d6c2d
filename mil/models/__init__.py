"""A trained run as one file that predicts: the heads of all folds as an ensemble, and all that a prediction needs.

How heads are trained stands in `training`; what is made of predictions in `prediction` and `explanation`.

    record.py          what stands in the file beside weights, as values
    sealed_tensors.py  tensors and a record in one safetensors file that proves every byte of itself
    ensemble.py        the model: outputs of its heads, and what they say together
    familiarity.py     how unlike the training cohort a bag is: distances, and their limits by leaving patients out
    making.py          the model of a finished run, from the run's folder and its features
    known_patients.py  who trained a model, from the run beside it
"""
