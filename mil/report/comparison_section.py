"""The report's comparison of a run with another on the same patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mil.report.blocks import number, p_value, paragraph, section, table, with_interval
from mil.runs.figure_names import NAMES


def comparison_section(compared: Mapping[str, Any]) -> str:
    """Return paired bootstrap, DeLong's tests and the corrected t over folds."""
    first, second = compared["first"], compared["second"]
    rows: list[Sequence[object]] = [
        [
            NAMES[row["figure"]], number(row["first"]), number(row["second"]), with_interval(row["difference"], signed=True),
            p_value(row["p"]), p_value(row["p_holm"]),
        ]
        for row in compared["bootstrap"]
    ]  # fmt: skip
    body = [
        paragraph(
            f"{compared['n_patients']} patients, {compared['n_bootstrap']} paired bootstraps; {first} less {second}."
        ),
        table(["paired bootstrap", first, second, "difference", "p", "p (Holm)"], rows),
    ]
    if "delong" in compared:
        rows = [
            [row["class"], row["n"], number(row["first"]), number(row["second"]), number(row["standard_error"]),
             p_value(row["p"]), p_value(row["p_holm"])]
            for row in compared["delong"]
        ]  # fmt: skip
        body.append(
            table(
                ["DeLong, AUROC against the rest", "patients", first, second, "standard error", "p", "p (Holm)"], rows
            )
        )
    rows = [
        [NAMES[row["figure"]], row["why"], "", "", ""]
        if "why" in row
        else [NAMES[row["figure"]], number(row["mean"]), number(row["t"], 2), p_value(row["p"]), p_value(row["p_holm"])]
        for row in compared["folds"]
    ]
    body.append(table(["corrected resampled t over folds", "mean difference", "t", "p", "p (Holm)"], rows))
    return section(f"Compared with the run {second}", body, key="comparison", items="12e, 23a")
