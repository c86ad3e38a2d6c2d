"""The report's section on results by image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mil.report.blocks import paragraph, section, table, with_interval


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
