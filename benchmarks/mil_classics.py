"""The classical multiple-instance sets (MUSK1, FOX, ...): accuracy of the product's head in 10-fold cross-validation, 5 times.

    python benchmarks/mil_classics.py musk1.npz fox.mat --head gated_attention

One recipe, declared before: the defaults of train.py. Nothing is chosen on a test fold. Beside it stands what is often reported:
the best epoch of each fold on its own test fold, which is an oracle and no result. A set is a file with X (instance, feature), bag
(of each instance) and y (of each bag, or of each instance): .npz, .mat, .h5.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from mil.bags.bags import Bag
from mil.heads.head import Head
from mil.tasks.subtype import SUBTYPE
from mil.training import fitting
from mil.training.baseline import fit_classifier
from mil.training.classification_task import ClassTargets, softmax
from mil.training.packed import predict
from mil.training.task import FoldInputs
from mil.training.training_settings import TrainConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", type=Path)
    parser.add_argument("--head", default="gated_attention")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--shuffled", action="store_true", help="labels that say nothing: the mean macro AUROC is 0.5")
    options = parser.parse_args()
    for path in options.sets:
        bags, labels = read_set(path)
        started, rows = time.process_time(), []
        for repeat in range(options.repeats):
            own = np.random.default_rng([repeat, 7]).permutation(labels) if options.shuffled else labels
            rows.append(one_repeat(bags, own, repeat, options))
            print(
                f"{path.stem}, repeat {repeat}: " + ", ".join(f"{k} {v:.3f}" for k, v in rows[-1].items()), flush=True
            )
        means = {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        spread = np.std([row["accuracy"] for row in rows], ddof=1) if len(rows) > 1 else 0.0
        print(
            f"{path.stem}: {len(labels)} bags, {options.head}: " + ", ".join(f"{k} {v:.3f}" for k, v in means.items())
        )
        print(f"  standard deviation of the accuracy over repeats {spread:.3f}; {time.process_time() - started:.0f} s")


def read_set(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the instances of each bag and the label, 0 or 1, of each."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ("X", "bag", "y")}
    elif path.suffix == ".mat":
        from scipy.io import loadmat

        file = loadmat(path)
        found = {name: np.asarray(file[name]) for name in ("X", "bag", "y")}
    else:
        import h5py

        with h5py.File(path) as file:
            found = {name: file[name][()] for name in ("X", "bag", "y")}
    owner, labels = np.ravel(found["bag"]), np.ravel(found["y"])
    names, first = np.unique(owner, return_index=True)
    of_bag = labels if len(labels) == len(names) else labels[first]
    classes = np.unique(of_bag)
    if len(classes) != 2:
        raise SystemExit(f"{path}: two classes are wanted, found {classes.tolist()}")
    return [found["X"][owner == name].astype(np.float32) for name in names], (of_bag == classes[1]).astype(int)


def one_repeat(
    bags: list[np.ndarray], labels: np.ndarray, repeat: int, options: argparse.Namespace
) -> dict[str, float]:
    """Return accuracy and AUROC of the head out of fold, of the oracle that picks epochs on test folds, of the mean baseline."""
    names = [f"b{index:04d}" for index in range(len(bags))]
    targets = ClassTargets(labels=dict(zip(names, map(int, labels), strict=True)), classes=["0", "1"])
    config = TrainConfig(head=options.head, threads=1)
    means = np.stack([bag.mean(axis=0) for bag in bags])
    p, p_mean, n_right_at_best = np.zeros(len(bags)), np.zeros(len(bags)), 0
    dealt = StratifiedKFold(options.folds, shuffle=True, random_state=repeat).split(means, labels)
    for number, (train, test) in enumerate(dealt):
        watched = Watched([names[i] for i in test], labels[test])

        def read(name: str) -> Bag:
            tiles = bags[int(name[1:])]
            nothing = np.zeros(len(tiles), np.int64)
            return Bag(
                patient_id=name, slide_ids=("s",), tiles=tiles, slide_of_tile=nothing, coords=np.zeros((0, 2), np.int64)
            )

        fold = FoldInputs(read=read, train=[names[i] for i in train], val=[], targets=targets, config=config)
        with watched.watching(read):
            fitted = fitting.fit(SUBTYPE.training, fold, seed=[repeat, number])
        p[test] = softmax(predict(fitted.head, read, watched.names))[:, 1]
        n_right_at_best += watched.best
        p_mean[test] = fit_classifier(means[train], labels[train], 2).probabilities(means[test])[:, 1]
    return {
        "accuracy": float(((p > 0.5) == labels).mean()), "AUROC": float(roc_auc_score(labels, p)),
        "best epoch on the test fold (an oracle, no result)": n_right_at_best / len(bags),
        "mean-pool baseline": float(((p_mean > 0.5) == labels).mean()),
    }  # fmt: skip


class Watched:
    """How many test bags are right after each epoch; the training knows nothing of it."""

    def __init__(self, names: list[str], labels: np.ndarray) -> None:
        self.names, self._labels, self.best = names, labels, 0

    def watching(self, read):  # type: ignore[no-untyped-def]
        """Count after every epoch."""
        from unittest.mock import patch

        own = type(SUBTYPE.training).train_epoch

        def train_epoch(task, head: Head, *others):  # type: ignore[no-untyped-def]
            loss = own(task, head, *others)
            right = int((predict(head, read, self.names).argmax(axis=1) == self._labels).sum())
            self.best = max(self.best, right)
            return loss

        return patch.object(type(SUBTYPE.training), "train_epoch", train_epoch)


if __name__ == "__main__":
    main()
