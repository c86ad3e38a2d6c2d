"""Class probabilities by image for tile tables: each image of a patient from its fields alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from mil.bags.bags import Bag, BagStore
from mil.heads.head import Head
from mil.runs.model_file import Model
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
    models: Iterable[tuple[FoldPlan, Model]], bags: BagStore, truth_of: Mapping[str, str]
) -> list[list[Any]]:
    """Return a row for every image of every test patient, by the model of the fold that tested it, in a fixed order.

    Args:
        models: each fold with its model.
        bags: of all patients; those without images have no rows.
        truth_of: the class of each patient.

    Returns:
        repeat, fold, patient, image, number of fields, truth, and the probability of each class.
    """
    rows: list[list[Any]] = []
    for plan, model in models:
        for patient in plan.test:
            bag = bags.read(patient)
            if not bag.images:
                continue
            counts = np.bincount(bag.image_of_tile, minlength=len(bag.images))
            for image, n_fields, probabilities in zip(bag.images, counts, predict_images(model.head, bag), strict=True):
                if not n_fields:
                    continue  # it could not be decoded: its feature file and status row say so
                start = [plan.repeat, plan.fold, patient, image, int(n_fields), truth_of[patient]]
                rows.append([*start, *map(float, probabilities)])
    return sorted(rows, key=lambda row: tuple(row[:4]))
