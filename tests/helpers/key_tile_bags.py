"""Small bags in memory, a few key tiles of which tell the class, and what a fold learns from."""

import numpy as np

from mil.bags.bags import Bag
from mil.training.classification_task import ClassTargets
from mil.training.task import FoldInputs
from mil.training.training_settings import TrainConfig

CLASSES = ["A", "B", "C"]
CONFIG = TrainConfig(evenness=0.0, epochs=40, hidden=16, attention=8, dropout=0.1, learning_rate=3e-3, threads=1)


def classes_of(labels):
    return ClassTargets(labels=labels, classes=CLASSES)


def inputs(bags, train, val, targets, config=CONFIG):
    return FoldInputs(read=bags.__getitem__, train=train, val=val, targets=targets, config=config)


def bag(patient, tiles):
    n = len(tiles)
    return Bag(
        patient_id=patient, slide_ids=("s",), tiles=tiles.astype(np.float16),
        slide_of_tile=np.zeros(n, np.int64), coords=np.zeros((n, 2), np.int64),
    )  # fmt: skip


def key_tile_bags(n_patients=48, n_classes=3, seed=0):
    """Bags of noise in which a few key tiles tell the class; returns bags, labels and where the keys are."""
    rng = np.random.default_rng(seed)
    bags, labels, keys = {}, {}, {}
    for index in range(n_patients):
        patient = f"p{index:02d}"
        tiles, label = rng.normal(size=(int(rng.integers(20, 40)), 12)), index % n_classes
        is_key = np.arange(len(tiles)) < 5
        tiles[is_key, 0] += 4
        tiles[is_key, 1 + label] += 3
        bags[patient], labels[patient], keys[patient] = bag(patient, tiles), label, is_key
    return bags, labels, keys
