"""Class probabilities by image for tile tables: each image of a patient from its fields alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from mil.bags.bags import Bag, BagStore
from mil.heads.head import Head
from mil.runs.model_file import Model
from mil.training.baseline import LinearClassifier, fit_classifier
from splits.fold_plan import FoldPlan


def predict_images(head: Head, bag: Bag) -> Float64[np.ndarray, "image k"]:
    """Return class probabilities of each image of a tile table's bag, from its fields alone."""
    head.eval()
    order = np.argsort(bag.image_of_tile, kind="stable")
    with torch.inference_mode():
        tiles = torch.from_numpy(bag.tiles[order].astype(np.float32))
        logits = head(tiles, torch.from_numpy(bag.image_of_tile[order]), len(bag.images))
        return torch.softmax(logits.double(), dim=1).numpy()


def image_rows(
    models: Iterable[tuple[FoldPlan, Model]], bags: BagStore, truth_of: Mapping[str, str], classes: Sequence[str]
) -> list[list[Any]]:
    """Return a row for every image of every test patient, by the model of the fold that tested it, in a fixed order.

    Args:
        models: each fold with its model.
        bags: of all patients; those without images have no rows.
        truth_of: the class of each patient.
        classes: in their order.

    Returns:
        repeat, fold, patient, image, number of fields, truth, and the probability of each class, by the attention model and
        by the linear model of the training patients' mean tiles.
    """
    rows: list[list[Any]] = []
    for plan, model in models:
        linear: LinearClassifier | None = None
        for patient in plan.test:
            bag = bags.read(patient)
            if not bag.images:
                continue
            linear = linear or _mean_pool(plan, bags, truth_of, classes)
            counts = np.bincount(bag.image_of_tile, minlength=len(bag.images))
            attention, baseline = predict_images(model.head, bag), linear.probabilities(_image_means(bag))
            for image, n_fields, own, other in zip(bag.images, counts, attention, baseline, strict=True):
                if not n_fields:
                    continue  # it could not be decoded: its feature file and status row say so
                start = [plan.repeat, plan.fold, patient, image, int(n_fields), truth_of[patient]]
                rows.append([*start, *map(float, own), *map(float, other)])
    return sorted(rows, key=lambda row: tuple(row[:4]))


def _mean_pool(plan: FoldPlan, bags: BagStore, truth_of: Mapping[str, str], classes: Sequence[str]) -> LinearClassifier:
    """Return the mean-pool baseline of a fold, as it stands beside the results by patient."""
    means = np.stack([bags.read(patient).mean_tile for patient in plan.train])
    labels = np.array([list(classes).index(truth_of[patient]) for patient in plan.train], dtype=np.int64)
    return fit_classifier(means, labels, len(classes))


def _image_means(bag: Bag) -> Float64[np.ndarray, "image dim"]:
    """Return the mean tile of each image; zeros for an image without tiles."""
    sums = np.zeros((len(bag.images), bag.tiles.shape[1]))
    np.add.at(sums, bag.image_of_tile, bag.tiles.astype(np.float64))
    return sums / np.maximum(np.bincount(bag.image_of_tile, minlength=len(bag.images)), 1)[:, None]
