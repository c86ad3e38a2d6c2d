"""Results by image for tile tables, beside those by patient, as the 2021 notebook reported both.

The prediction of an image is the patient head applied to the bag of that image's fields. Images of a patient are not
independent: intervals draw patients, each with all its images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64

from common.files import write_table
from mil.bags.bags import Bag, BagStore
from mil.metrics.bootstrap import intervals, plan_resampling, resample
from mil.metrics.classification import Weights, accuracy, class_mean, confusion_matrices, once, ranking_metrics
from mil.report.blocks import paragraph, section, table, with_interval

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
    from mil.runs.model_file import read_model

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
                if not n_fields:
                    continue  # it could not be decoded: its feature file and status row say so
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

    Probabilities of an image are averaged over repeats. Intervals are of the patient bootstrap inside classes.
    """
    import pandas as pd

    path = run_dir / FILE
    if not path.is_file():
        return {}
    rows = pd.read_csv(path, dtype={"patient_id": str, "image": str, "truth": str}, keep_default_na=False)
    columns = [f"p_{name}" for name in classes]
    rows = rows.groupby(["patient_id", "image"], sort=True).agg({**dict.fromkeys(columns, "mean"), "truth": "first"})
    rows = rows.reset_index()
    truth = np.array([list(classes).index(name) for name in rows["truth"]], dtype=np.int64)
    patients, patient_of = np.unique(rows["patient_id"].to_numpy(dtype=str), return_inverse=True)
    strata = np.zeros(len(patients), dtype=np.int64)
    strata[patient_of] = truth
    probabilities, n_classes = rows[columns].to_numpy(dtype=np.float64), len(classes)
    predicted = probabilities.argmax(axis=1)

    def figures(weights: Weights) -> Mapping[str, Float64[np.ndarray, " b"]]:
        of_image = weights[patient_of]  # an image is drawn as often as its patient
        aurocs, _ = ranking_metrics(probabilities, truth, of_image)
        confusion = confusion_matrices(predicted, truth, n_classes, of_image)
        by_class = {f"auroc {name}": aurocs[index] for index, name in enumerate(classes)}
        return {"macro_auroc": class_mean(aurocs), "accuracy": accuracy(confusion), **by_class}

    plan = plan_resampling(strata, n_bootstrap, np.random.default_rng([seed, 73]))
    found = {name: asdict(each) for name, each in intervals(resample(figures, plan)).items()}
    counts = confusion_matrices(predicted, truth, n_classes, once(len(truth)))[..., 0]
    return {
        "images": {
            "n_images": len(truth), "n_patients": len(patients),
            "macro_auroc": found["macro_auroc"], "accuracy": found["accuracy"],
            "per_class": {
                name: {"n": int((truth == index).sum()), "auroc": found[f"auroc {name}"]} for index, name in enumerate(classes)
            },
            "confusion": {"classes": list(classes), "counts": counts.astype(int).tolist()},
        }
    }  # fmt: skip


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


def image_section(found: Mapping[str, Any]) -> list[str]:
    """Return the report's section on images; none without images."""
    if "images" not in found:
        return []
    own = found["images"]
    rows = [["macro AUROC", with_interval(own["macro_auroc"])], ["accuracy", with_interval(own["accuracy"])]]
    classes = [[name, each["n"], with_interval(each["auroc"])] for name, each in own["per_class"].items()]
    words = (
        f"{own['n_images']} images of {own['n_patients']} test patients. An image's prediction is the head on the fields of "
        "that image alone. The interval draws patients with all their images, since these are not independent. The result by "
        "patient is the one that counts for a diagnosis."
    )
    body = [table(["", "attention MIL"], rows), table(["class", "images", "AUROC against the rest"], classes)]
    return [section("By image", [*body, paragraph(words, "note")], key="images", items="23a")]
