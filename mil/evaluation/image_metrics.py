"""Results by image for tile tables, beside those by patient, as the 2021 notebook reported both.

The prediction of an image is the patient head applied to the bag of that image's fields. Images of a patient are not
independent: intervals draw patients, each with all its images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from mil.evaluation.metrics_record import ImageClass, ImageMetrics, confusion_of
from mil.metrics.bootstrap import intervals, plan_resampling, resample, supported
from mil.metrics.classification import (
    Weights,
    accuracy,
    class_mean,
    confusion_matrices,
    macro_classes,
    once,
    ranking_metrics,
)
from mil.metrics.support import MIN_EVENTS, class_support

if TYPE_CHECKING:
    import pandas as pd


def image_metrics(
    predictions: pd.DataFrame, classes: Sequence[str], *, n_bootstrap: int, seed: int
) -> ImageMetrics | None:
    """Return the metrics by image; None without images.

    Probabilities of an image are averaged over repeats. Intervals are of the patient bootstrap inside classes.
    """
    if not len(predictions):
        return None
    columns = [f"p_{name}" for name in classes]
    by_image = predictions.groupby(["patient_id", "image"], sort=True)
    rows = by_image.agg({**dict.fromkeys(columns, "mean"), "truth": "first"}).reset_index()
    truth = np.array([list(classes).index(name) for name in rows["truth"]], dtype=np.int64)
    patients, patient_of = np.unique(rows["patient_id"].to_numpy(dtype=str), return_inverse=True)
    strata = np.zeros(len(patients), dtype=np.int64)
    strata[patient_of] = truth
    probabilities, n_classes = rows[columns].to_numpy(dtype=np.float64), len(classes)
    predicted = probabilities.argmax(axis=1)
    macro = macro_classes(np.bincount(strata, minlength=n_classes), MIN_EVENTS).astype(np.float64)[:, None]

    def metrics(weights: Weights) -> Mapping[str, Float64[np.ndarray, " b"]]:
        of_image = weights[patient_of]  # an image is drawn as often as its patient
        aurocs, _ = ranking_metrics(probabilities, truth, of_image)
        confusion = confusion_matrices(predicted, truth, n_classes, of_image)
        by_class = {f"auroc {name}": aurocs[index] for index, name in enumerate(classes)}
        return {"macro_auroc": class_mean(aurocs, macro), "accuracy": accuracy(confusion), **by_class}

    plan = plan_resampling(strata, n_bootstrap, np.random.default_rng([seed, 73]))
    known = class_support(probabilities, truth, patient_of)
    support = known | {f"auroc {name}": known[f"auroc:{index}"] for index, name in enumerate(classes)}
    own = intervals(supported(resample(metrics, plan), support))
    counts = confusion_matrices(predicted, truth, n_classes, once(len(truth)))[..., 0]
    return ImageMetrics(
        n_images=len(truth),
        n_patients=len(patients),
        macro_auroc=own["macro_auroc"],
        accuracy=own["accuracy"],
        per_class={
            name: ImageClass(n=int((truth == index).sum()), auroc=own[f"auroc {name}"])
            for index, name in enumerate(classes)
        },
        confusion=confusion_of(counts, classes),
    )
