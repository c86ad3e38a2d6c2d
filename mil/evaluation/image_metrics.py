"""Results by image for tile tables, beside those by patient, as the 2021 notebook reported both.

The prediction of an image is the patient head applied to the bag of that image's fields. Images of a patient are not
independent: intervals draw patients, each with all its images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from common.table_cells import with_texts
from mil.metrics.bootstrap import intervals, plan_resampling, resample
from mil.metrics.classification import Weights, accuracy, class_mean, confusion_matrices, once, ranking_metrics
from mil.runs.run_store import FILE


def image_metrics(run_dir: Path, classes: Sequence[str], *, n_bootstrap: int, seed: int) -> dict[str, Any]:
    """Return {"images": figures by image} from predictions_tiles.csv; empty without that file.

    Probabilities of an image are averaged over repeats. Intervals are of the patient bootstrap inside classes.
    """
    import pandas as pd

    path = run_dir / FILE
    if not path.is_file():
        return {}
    rows = with_texts(pd.read_csv(path, dtype={"patient_id": str, "image": str, "truth": str}, keep_default_na=False))
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
