"""Results by image for tile tables, beside those by patient, as the 2021 notebook reported both.

The prediction of an image is the patient head applied to the bag of that image's fields. Images of a patient are not
independent: intervals draw patients, each with all its images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from common.artifacts import write_table
from mil.bags import Bag, BagStore
from mil.bootstrap import LEVEL, resamples

if TYPE_CHECKING:
    import torch

FILE = "predictions_tiles.csv"


def predict_images(head: torch.nn.Module, bag: Bag) -> Float64[np.ndarray, "image k"]:
    """Return class probabilities of each image of a tile table's bag, from its fields alone."""
    import torch

    head.eval()
    order = np.argsort(bag.image_of_tile, kind="stable")
    with torch.inference_mode():
        tiles = torch.from_numpy(bag.tiles[order].astype(np.float32))
        logits = head(tiles, torch.from_numpy(bag.image_of_tile[order]), len(bag.images))
        return torch.softmax(logits.double(), dim=1).numpy()


def write_image_predictions(run_dir: Path, bags: BagStore, labels: Mapping[str, int], classes: Sequence[str]) -> None:
    """Write predictions_tiles.csv: every image of every test patient, by the model of the fold that tested it.

    Without images or test patients there is no such file.
    """
    from mil.model_file import read_model

    rows: list[list[Any]] = []
    for model_file in sorted((run_dir / "models").glob("*.safetensors")):
        model = read_model(model_file)
        known = model.metadata
        for patient in known["test_patients"]:
            bag = bags.read(patient)
            if not bag.images:
                continue
            counts = np.bincount(bag.image_of_tile, minlength=len(bag.images))
            for image, n_fields, probabilities in zip(bag.images, counts, predict_images(model.head, bag), strict=True):
                start = [known["repeat"], known["fold"], patient, image, int(n_fields), classes[labels[patient]]]
                rows.append([*start, *map(float, probabilities)])
    path = run_dir / FILE
    if not rows:
        path.unlink(missing_ok=True)
        return
    names = ["repeat", "fold", "patient_id", "image", "n_fields", "truth", *(f"p_{name}" for name in classes)]
    rows.sort(key=lambda row: tuple(row[:4]))
    write_table(path, names, rows)


def image_metrics(run_dir: Path, classes: Sequence[str], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return {"images": figures by image} from predictions_tiles.csv; empty without that file.

    Probabilities of an image are averaged over repeats. Intervals are percentiles over patients drawn inside classes.
    """
    import pandas as pd

    path = run_dir / FILE
    if not path.is_file():
        return {}
    table = pd.read_csv(path, dtype={"patient_id": str, "image": str, "truth": str}, keep_default_na=False)
    columns = [f"p_{name}" for name in classes]
    table = table.groupby(["patient_id", "image"], sort=True).agg({**dict.fromkeys(columns, "mean"), "truth": "first"})
    table = table.reset_index()
    truth = np.array([list(classes).index(name) for name in table["truth"]], dtype=np.int64)
    patients, patient_of = np.unique(table["patient_id"].to_numpy(dtype=str), return_inverse=True)
    strata = np.zeros(len(patients), dtype=np.int64)
    strata[patient_of] = truth
    drawn = resamples(strata, n_bootstrap, np.random.default_rng([seed, 73]))
    counts = np.stack([np.bincount(index, minlength=len(patients)) for index in drawn], axis=1)
    weights = np.concatenate([np.ones((len(truth), 1)), counts[patient_of]], axis=1)
    probabilities = table[columns].to_numpy(dtype=np.float64)
    aurocs = class_aurocs(probabilities, truth, weights)
    is_right = probabilities.argmax(axis=1) == truth
    accuracy = (weights * is_right[:, None]).sum(axis=0) / weights.sum(axis=0)
    present = np.isfinite(aurocs[:, 0])
    macro = aurocs[present].mean(axis=0) if present.any() else np.full(weights.shape[1], np.nan)
    confusion = np.bincount(truth * len(classes) + probabilities.argmax(axis=1), minlength=len(classes) ** 2)
    found = {
        "n_images": len(truth),
        "n_patients": len(patients),
        "macro_auroc": _interval(macro),
        "accuracy": _interval(accuracy),
        "per_class": {
            name: {"n": int((truth == index).sum()), "auroc": _interval(aurocs[index])}
            for index, name in enumerate(classes)
        },
        "confusion": {"classes": list(classes), "counts": confusion.reshape(len(classes), -1).tolist()},
    }
    return {"images": found}


def class_aurocs(
    probabilities: Float[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n b"]
) -> Float64[np.ndarray, "k b"]:
    """Return each class's one-vs-rest AUROC under each column of weights; NaN without images of it or of others."""
    return np.stack(
        [weighted_auroc(probabilities[:, index], truth == index, weights) for index in range(probabilities.shape[1])]
    )


def weighted_auroc(
    scores: Float[np.ndarray, " n"], is_positive: Bool[np.ndarray, " n"], weights: Float[np.ndarray, "n b"]
) -> Float64[np.ndarray, " b"]:
    """Return the chance that a positive scores above a negative, ties counting half, each image counting by its weight."""
    order = np.argsort(scores, kind="stable")
    new_score = np.concatenate([[True], np.diff(scores[order]) != 0])
    starts = np.flatnonzero(new_score)
    positive = np.add.reduceat(weights[order] * is_positive[order, None], starts, axis=0)
    negative = np.add.reduceat(weights[order] * ~is_positive[order, None], starts, axis=0)
    above = positive * (np.cumsum(negative, axis=0) - negative / 2)
    pairs = positive.sum(axis=0) * negative.sum(axis=0)
    return np.divide(above.sum(axis=0), pairs, out=np.full(weights.shape[1], np.nan), where=pairs > 0)


def _interval(values: Float64[np.ndarray, " b"]) -> dict[str, float | None]:
    """Return a figure (first value) with the percentiles of its draws (the others)."""
    value, draws = float(values[0]), values[1:][np.isfinite(values[1:])]
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    if len(draws) < (len(values) - 1) / 2:
        return {"value": value, "low": None, "high": None}
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": value, "low": float(low), "high": float(high)}


def image_line(found: Mapping[str, Any]) -> str:
    """Return the figures by image in one line; empty where there are none."""
    if "images" not in found:
        return ""
    own = found["images"]
    parts = [f"by image ({own['n_images']} images of {own['n_patients']} patients):"]
    for name, title in (("macro_auroc", "macro AUROC"), ("accuracy", "accuracy")):
        figure = own[name]
        span = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
        parts.append(f"{title} -" if figure["value"] is None else f"{title} {figure['value']:.3f}{span}")
    return " ".join(parts)


def image_section(
    found: Mapping[str, Any],
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], str],
    value: Callable[[Mapping[str, Any]], str],
) -> list[str]:
    """Return the report's section on images, made with the report's own table and figure; none without images."""
    if "images" not in found:
        return []
    own = found["images"]
    rows = [["macro AUROC", value(own["macro_auroc"])], ["accuracy", value(own["accuracy"])]]
    classes = [[name, str(each["n"]), value(each["auroc"])] for name, each in own["per_class"].items()]
    return [
        "<h2>By image</h2>" + table(["", "attention MIL"], rows) + table(["class", "images", "AUROC against the rest"], classes)
        + f"<p><small>{own['n_images']} images of {own['n_patients']} test patients. An image's prediction is the head on the "
        "fields of that image alone. The interval draws patients with all their images, since these are not independent. The "
        "result by patient is the one that counts for a diagnosis.</small></p>"
    ]  # fmt: skip
