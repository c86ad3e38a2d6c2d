"""A small study that begins at the features, trained for both tasks: what models, predictions and explanations are made of."""

from mil.train import main as train
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import make_feature_study

FAST = ["--epochs", "8", "--hidden", "16", "--attention", "8", "--bootstrap", "100", "--threads", "1"]


def train_both(root, *, n_patients=30):
    """Return the study, with runs/subtype/default and runs/survival/default in two folds."""
    study = make_feature_study(root, n_patients=n_patients)
    assert make_splits(["--study", str(root), "--folds", "2"]) == 0
    for task in ("subtype", "survival"):
        assert train(["--study", str(root), "--task", task, *FAST]) == 0
    return study
