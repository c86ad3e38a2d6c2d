"""Heads trained on bags in which a few tiles tell the class, or the hazard; for tests and benchmarks of explanations."""

from dataclasses import dataclass, replace

import numpy as np

from mil.bags.bags import Bag
from mil.tasks.registry import task_named
from mil.training.classification_task import ClassTargets
from mil.training.fitting import fit
from mil.training.survival_task import SurvivalTargets
from mil.training.task import FoldInputs
from mil.training.training_settings import TrainConfig

N_CLASSES, DIM = 3, 24
CONFIG = TrainConfig(epochs=30, hidden=32, attention=16, dropout=0.1, threads=1, batch_patients=8)


@dataclass
class Planted:
    """A trained head, the bags of patients it never saw, which tiles are planted, and the truth."""

    head: object
    bags: dict
    is_planted: dict
    truth: dict


def planted(seed, *, n_train=48, n_test=16, is_survival=False, head="gated_attention", n_tiles=(120, 200)):
    """Train a head on planted bags; another tenth of tiles looks just as odd and tells nothing (necrosis, ink).

    A class is told by a tenth of the tiles. A hazard is raised by tiles of one kind, which are the planted ones, and lowered by
    those of another; together they are a fifth of the bag.
    """
    rng = np.random.default_rng(seed)
    bags, is_planted, labels, times, events = {}, {}, {}, {}, {}
    directions = rng.normal(size=(N_CLASSES + 1, DIM))
    directions *= 4 / np.linalg.norm(directions, axis=1, keepdims=True)
    for index in range(n_train + n_test):
        patient, n = f"p{index:03d}", int(rng.integers(*n_tiles))
        tiles, tenth, order = rng.normal(size=(n, DIM)), n // 10, rng.permutation(n)
        label, share = index % N_CLASSES, float(rng.uniform(0.1, 0.9))
        tiles[order[:tenth]] += directions[N_CLASSES]
        if is_survival:
            n_key = max(1, round(share * 2 * tenth))
            key, good = order[tenth : tenth + n_key], order[tenth + n_key : 3 * tenth]
            tiles[key] += directions[0]
            tiles[good] += directions[1]
        else:
            key = order[tenth : 2 * tenth]
            tiles[key] += directions[label]
        bags[patient] = Bag(
            patient_id=patient, slide_ids=(patient,), tiles=tiles.astype(np.float16), slide_of_tile=np.zeros(n, np.int64),
            coords=np.zeros((n, 2), np.int64),
        )  # fmt: skip
        is_planted[patient] = np.isin(np.arange(n), key)
        labels[patient] = label
        times[patient] = float(np.ceil(30 * rng.exponential() * np.exp(-4.0 * (share - 0.5))))
        events[patient] = int(rng.random() < 0.8)
    patients = sorted(bags)
    train, test = patients[:n_train], patients[n_train:]
    config = replace(CONFIG, head=head, task="survival" if is_survival else "subtype")
    classes = ClassTargets(labels=labels, classes=[f"c{k}" for k in range(N_CLASSES)])
    targets = SurvivalTargets(times=times, events=events) if is_survival else classes
    inputs = FoldInputs(read=bags.__getitem__, train=train, val=[], targets=targets, config=config)
    fitted = fit(task_named(config.task).training, inputs, seed=[seed, 0, 0])
    return Planted(
        head=fitted.head.eval(), bags={p: bags[p] for p in test}, is_planted={p: is_planted[p] for p in test},
        truth={p: (times[p], events[p]) if is_survival else labels[p] for p in test},
    )  # fmt: skip
