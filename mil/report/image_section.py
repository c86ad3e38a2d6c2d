"""Results by image, for the screen and for the report."""

from __future__ import annotations

from collections.abc import Mapping

from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.blocks import Block, Section, counted, illustration, note, number, table, with_interval
from mil.runs.figure_names import ATTENTION, MODEL_NAMES

NAMES = {"macro_auroc": "macro AUROC", "accuracy": "accuracy", "vote_accuracy": "accuracy of the vote"}


def image_line(metrics: RunMetrics | NotEvaluated) -> str:
    """Return the metrics by image in one line; empty where there are none."""
    if isinstance(metrics, NotEvaluated) or metrics.images is None:
        return ""
    own = metrics.images
    parts = [f"by image ({counted(own.n_images, 'image')} of {counted(own.n_patients, metrics.unit)}):"]
    for title, value in (
        ("macro AUROC", own.macro_auroc), ("accuracy", own.accuracy),
        (f"majority vote of a {metrics.unit}'s images", own.vote_accuracy),
    ):  # fmt: skip
        span = "" if value.low is None else f" ({value.low:.3f} to {value.high:.3f})"
        parts.append(f"{title} -" if value.value is None else f"{title} {value.value:.3f}{span}")
    return " ".join(parts)


def image_section(metrics: RunMetrics, pictures: Mapping[str, str]) -> list[Section]:
    """Return the report's section on images; none without images."""
    own = metrics.images
    if own is None:
        return []
    head = ["metric", MODEL_NAMES[ATTENTION]]
    for model in own.baselines:
        head += [MODEL_NAMES[model], "difference (paired)"]
    chance = {"macro_auroc": 0.5, "accuracy": own.chance_accuracy, "vote_accuracy": metrics.chance.get("accuracy")}
    rows = []
    for name, title in NAMES.items():
        row = [title, with_interval(getattr(own, name))]
        for other in own.baselines.values():
            row += [with_interval(other.figures[name]), with_interval(other.differences[name], signed=True)]
        rows.append([*row, number(chance[name])])
    classes = [[name, each.n, with_interval(each.auroc)] for name, each in own.per_class.items()]
    words = (
        f"{counted(own.n_images, 'image')} of {counted(own.n_patients, 'test patient')}. "
        "An image's prediction is the head on the fields of that image alone; the baseline's is the linear model of patients' "
        "mean tiles on the image's mean. The vote gives a patient the class that most of its images have, of equally many "
        "the more probable. Chance accuracy is that of naming the largest class each time. "
        "The interval draws patients with all their images, since these are not independent. The result by "
        "patient is the one that counts for a diagnosis."
    )
    body: tuple[Block, ...] = (
        table([*head, "chance"], rows),
        note(words),
        table(["class", "images", "AUROC against the rest"], classes),
        *illustration(
            "confusion_images", "Confusion matrix, out of fold, images. Colour: share of the true class.", pictures
        ),
    )
    return [Section(key="images", title="By image", items="23a", body=body)]
