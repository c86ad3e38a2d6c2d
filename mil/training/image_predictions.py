"""Predictions by image for tile tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from common.files import write_table
from mil.bags.bags import Bag, BagStore
from mil.runs.run_store import FILE
from splits.fold_plan import FoldPlan

if TYPE_CHECKING:
    import torch


def predict_images(head: torch.nn.Module, bag: Bag) -> Float64[np.ndarray, "image k"]:
    """Return class probabilities of each image of a tile table's bag, from its fields alone."""
    import torch

    head.eval()
    order = np.argsort(bag.image_of_tile, kind="stable")
    with torch.inference_mode():
        tiles = torch.from_numpy(bag.tiles[order].astype(np.float32))
        logits = head(tiles, torch.from_numpy(bag.image_of_tile[order]), len(bag.images))
        return torch.softmax(logits.double(), dim=1).numpy()


def write_image_predictions(
    run_dir: Path, plans: Sequence[FoldPlan], bags: BagStore, labels: Mapping[str, int], classes: Sequence[str]
) -> None:
    """Write predictions_tiles.csv: every image of every test patient, by the model of the fold that tested it.

    Without images or test patients there is no such file.
    """
    from mil.runs.model_file import read_model

    rows: list[list[Any]] = []
    for plan in plans:
        model = read_model(run_dir / "models" / f"{plan.stem}.safetensors")
        for patient in plan.test:
            bag = bags.read(patient)
            if not bag.images:
                continue
            counts = np.bincount(bag.image_of_tile, minlength=len(bag.images))
            for image, n_fields, probabilities in zip(bag.images, counts, predict_images(model.head, bag), strict=True):
                if not n_fields:
                    continue  # it could not be decoded: its feature file and status row say so
                start = [plan.repeat, plan.fold, patient, image, int(n_fields), classes[labels[patient]]]
                rows.append([*start, *map(float, probabilities)])
    path = run_dir / FILE
    if not rows:
        path.unlink(missing_ok=True)
        return
    names = ["repeat", "fold", "patient_id", "image", "n_fields", "truth", *(f"p_{name}" for name in classes)]
    rows.sort(key=lambda row: tuple(row[:4]))
    write_table(path, names, rows)
