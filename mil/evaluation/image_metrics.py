"""Results by image for tile tables, beside those by patient, as the 2021 notebook reported both.

The prediction of an image is the patient head applied to the bag of that image's fields; that of the baseline is the linear
model of the patients' mean tiles, applied to the image's mean. A vote is the class that most of a patient's images have
(Clopper and Pearson's limits, where every resample is alike). Images of a patient are not independent: intervals draw
patients, each with all its images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from mil.evaluation.clusters import patient_strata
from mil.evaluation.metrics_record import ImageBaseline, ImageClass, ImageMetrics, confusion_of
from mil.metrics.bootstrap import Interval, Resamples, Resampling, intervals, plan_resampling, resample, supported
from mil.metrics.classification import (
    Weights,
    accuracy,
    class_mean,
    confusion_matrices,
    macro_classes,
    once,
    ranking_metrics,
)
from mil.metrics.support import MIN_EVENTS, class_support, share_support
from mil.runs.figure_names import MEAN_POOL

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class _Images:
    """Every image with its truth; `patient_of` is who is drawn with it, `bag_of` whose vote it takes part in."""

    truth: Int64[np.ndarray, " n"]
    patient_of: Int64[np.ndarray, " n"]
    bag_of: Int64[np.ndarray, " n"]
    n_classes: int
    plan: Resampling  # of the patients


def image_metrics(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    n_bootstrap: int,
    seed: int,
    patient_of: Mapping[str, str] | None = None,
    widening: float = 1.0,
) -> ImageMetrics | None:
    """Return the metrics by image; None without images.

    Probabilities of an image are averaged over repeats. Intervals are of the patient bootstrap inside classes.

    Args:
        predictions: as in predictions_tiles.csv.
        classes: in their order.
        n_bootstrap: number of patient bootstraps.
        seed: of the bootstrap.
        patient_of: slide to patient, where bags are slides.
        widening: of the intervals (`clusters.widening_of`).
    """
    if not len(predictions):
        return None
    prefixes = {"": "p_", MEAN_POOL: f"{MEAN_POOL}_p_"}
    columns = {model: [f"{prefix}{name}" for name in classes] for model, prefix in prefixes.items()}
    known = {model: own for model, own in columns.items() if set(own) <= set(predictions.columns)}
    by_image = predictions.groupby(["patient_id", "image"], sort=True)
    averaged = dict.fromkeys([name for own in known.values() for name in own], "mean")
    rows = by_image.agg({**averaged, "truth": "first"}).reset_index()
    truth = np.array([list(classes).index(name) for name in rows["truth"]], dtype=np.int64)
    bags = rows["patient_id"].to_numpy(dtype=str)
    owners = np.array([(patient_of or {}).get(bag, bag) for bag in bags])
    codes = np.unique(owners, return_inverse=True)[1].astype(np.int64)
    images = _Images(
        truth, codes, np.unique(bags, return_inverse=True)[1].astype(np.int64), len(classes),
        plan_resampling(patient_strata(truth, codes), n_bootstrap, np.random.default_rng([seed, 73]), widening),
    )  # fmt: skip
    probabilities = {model: rows[own].to_numpy(dtype=np.float64) for model, own in known.items()}
    samples = {model: _resampled(own, images) for model, own in probabilities.items()}
    own = intervals(samples[""])
    counts = confusion_matrices(probabilities[""].argmax(axis=1), truth, len(classes), once(len(truth)))[..., 0]
    return ImageMetrics(
        n_images=len(truth),
        n_patients=int(images.bag_of.max()) + 1,
        macro_auroc=own["macro_auroc"],
        accuracy=own["accuracy"],
        vote_accuracy=own["vote_accuracy"],
        chance_accuracy=float(np.bincount(truth).max() / len(truth)),
        baselines={
            model: _baseline(intervals(other), intervals(samples[""].minus(other)))
            for model, other in samples.items()
            if model
        },
        per_class={
            name: ImageClass(n=int((truth == index).sum()), auroc=own[f"auroc {index}"])
            for index, name in enumerate(classes)
        },
        confusion=confusion_of(counts, classes),
    )


def _baseline(own: Mapping[str, Interval], difference: Mapping[str, Interval]) -> ImageBaseline:
    names = ("macro_auroc", "accuracy", "vote_accuracy")
    return ImageBaseline(
        figures={name: own[name] for name in names}, differences={name: difference[name] for name in names}
    )


def _resampled(probabilities: Float64[np.ndarray, "n k"], images: _Images) -> Resamples:
    truth, n_classes, predicted = images.truth, images.n_classes, probabilities.argmax(axis=1)
    n_of = np.bincount(patient_strata(truth, images.patient_of), minlength=n_classes)
    macro = macro_classes(n_of, MIN_EVENTS).astype(np.float64)[:, None]
    is_right = votes(probabilities, images.bag_of) == truth[np.unique(images.bag_of, return_index=True)[1]]
    owner = images.patient_of[np.unique(images.bag_of, return_index=True)[1]]

    def metrics(weights: Weights) -> Mapping[str, Float64[np.ndarray, " b"]]:
        of_image = weights[images.patient_of]  # an image is drawn as often as its patient
        aurocs, _ = ranking_metrics(probabilities, truth, of_image)
        confusion = confusion_matrices(predicted, truth, n_classes, of_image)
        of_bag = weights[owner]
        return {
            "macro_auroc": class_mean(aurocs, macro), "accuracy": accuracy(confusion),
            "vote_accuracy": is_right.astype(np.float64) @ of_bag / of_bag.sum(axis=0),
            **{f"auroc {index}": aurocs[index] for index in range(n_classes)},
        }  # fmt: skip

    samples = resample(metrics, images.plan)
    known = class_support(probabilities, truth, images.patient_of)
    n_patients = int(images.patient_of.max()) + 1
    votes_support = share_support(samples.value["vote_accuracy"], n_patients, is_count=n_patients == len(is_right))
    own = {f"auroc {index}": known[f"auroc:{index}"] for index in range(n_classes)} | {"vote_accuracy": votes_support}
    return supported(samples, known | own)


def votes(probabilities: Float64[np.ndarray, "n k"], bag_of: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " m"]:
    """Return the class that most images of each bag have; among equally many that of the higher mean probability."""
    n_bags, n_classes = int(bag_of.max()) + 1, probabilities.shape[1]
    counts, sums = np.zeros((n_bags, n_classes)), np.zeros((n_bags, n_classes))
    np.add.at(counts, (bag_of, probabilities.argmax(axis=1)), 1)
    np.add.at(sums, bag_of, probabilities)
    is_most = counts == counts.max(axis=1, keepdims=True)
    return np.where(is_most, sums, -1.0).argmax(axis=1).astype(np.int64)
