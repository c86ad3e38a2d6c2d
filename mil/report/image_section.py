"""Results by image, for the screen and for the report."""

from __future__ import annotations

from mil.evaluation.metrics_record import NotEvaluated, RunMetrics
from mil.report.blocks import Section, counted, note, table, with_interval


def image_line(metrics: RunMetrics | NotEvaluated) -> str:
    """Return the metrics by image in one line; empty where there are none."""
    if isinstance(metrics, NotEvaluated) or metrics.images is None:
        return ""
    own = metrics.images
    parts = [f"by image ({counted(own.n_images, 'image')} of {counted(own.n_patients, 'patient')}):"]
    for title, value in (("macro AUROC", own.macro_auroc), ("accuracy", own.accuracy)):
        span = "" if value.low is None else f" ({value.low:.3f} to {value.high:.3f})"
        parts.append(f"{title} -" if value.value is None else f"{title} {value.value:.3f}{span}")
    return " ".join(parts)


def image_section(metrics: RunMetrics) -> list[Section]:
    """Return the report's section on images; none without images."""
    own = metrics.images
    if own is None:
        return []
    rows = [["macro AUROC", with_interval(own.macro_auroc)], ["accuracy", with_interval(own.accuracy)]]
    classes = [[name, each.n, with_interval(each.auroc)] for name, each in own.per_class.items()]
    words = (
        f"{counted(own.n_images, 'image')} of {counted(own.n_patients, 'test patient')}. "
        "An image's prediction is the head on the fields of "
        "that image alone. The interval draws patients with all their images, since these are not independent. The result by "
        "patient is the one that counts for a diagnosis."
    )
    body = (
        table(["metric", "attention MIL"], rows),
        table(["class", "images", "AUROC against the rest"], classes),
        note(words),
    )
    return [Section(key="images", title="By image", items="23a", body=body)]
