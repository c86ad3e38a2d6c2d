"""The figures of a report, as SVG that is the same on every run: no dates, no random ids; the data behind each as CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from common.files import write_table, write_text
from common.own_files import own_folder, remove_own_files
from mil.report.drawing import as_svg
from mil.report.subtype_figures import draw_confusion, draw_reliability, draw_roc, draw_selective
from mil.report.training_figures import draw_learning_curve, draw_training
from mil.runs.figure_names import MAIN
from mil.runs.run_store import Run

OWN_FIGURE = re.compile(
    r"(training|confusion|roc|selective|reliability|kaplan_meier|scores|brier|learning_curve)\.(svg|csv)"
)


def draw_figures(run: Run, found: Mapping[str, Any]) -> None:
    """Draw what fits the task into figures/, replacing older ones."""
    from mil.report.survival_figures import draw_brier, draw_scores, draw_survival_curves

    drawn = {"training": draw_training(run.facts["folds"])}
    if found["evaluated"] and run.task == "subtype":
        drawn |= {
            "confusion": draw_confusion(found["confusion"]),
            "roc": draw_roc(run),
            "selective": draw_selective(found),
        }
        drawn["reliability"] = draw_reliability(found["calibration"])
    elif found["evaluated"]:
        drawn |= {"kaplan_meier": draw_survival_curves(run, found), "scores": draw_scores(run)}
    if found.get("over_time"):
        drawn["brier"] = draw_brier(found["over_time"]["brier"])
    if found.get("learning_curve"):
        drawn["learning_curve"] = draw_learning_curve(found["learning_curve"], MAIN[run.task])
    folder = own_folder(run.folder / "figures", below=run.folder.parent)
    for name, each in drawn.items():
        write_text(folder / f"{name}.svg", as_svg(each.figure))
        write_table(folder / f"{name}.csv", each.names, each.rows)
    remove_own_files(folder, OWN_FIGURE, kept={f"{name}{ending}" for name in drawn for ending in (".svg", ".csv")})
