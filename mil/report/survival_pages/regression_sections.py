"""Hazard ratios with their checks, and the calibration of the predicted risk."""

from __future__ import annotations

from collections.abc import Sequence

from mil.evaluation.survival_parts.records import HazardRatio, SurvivalParts
from mil.report.blocks import Block, Paragraph, Section, counted, illustration, note, number, p_value, table
from mil.report.task import Pictures
from mil.runs.figure_names import time_text

LEAST_EVENTS_AN_INPUT, MAX_P = 10, 0.05
INCIDENCE_CAPTION = (
    "Cumulative incidence by risk group (Aalen-Johansen): the end point with 95 % limits; thin: other events."
)


def hazard_sections(parts: SurvivalParts, pictures: Pictures) -> list[Section]:
    """Return the table of hazard ratios, the forest plot, events an input, and whether ratios change with time."""
    if parts.alone is None:
        return []
    rows = [[*_ratio_row(parts.alone.rows[0], "alone")]]
    rows += [] if parts.adjusted is None else [_ratio_row(row, "all together") for row in parts.adjusted.rows]
    widest = parts.adjusted or parts.alone
    said = f"{counted(widest.events, 'event')}, {widest.events_per_input:.1f} for each input"
    if widest.events_per_input < LEAST_EVENTS_AN_INPUT:
        said += f": under {LEAST_EVENTS_AN_INPUT}, so that the ratios of all together are not to be relied on"
    p = widest.proportional_p
    steady = (
        ""
        if p is None
        else f" That no ratio changes with time (scaled Schoenfeld residuals, all together) has p {p_value(p)}"
        + (": some do, and a ratio is a mean over time." if p < MAX_P else ".")
    )
    body: tuple[Block, ...] = (
        table(["regression", "input", "hazard ratio (95 %)", "p", "p of a change with time"], rows),
        *illustration("hazard_ratios", "Hazard ratios, all inputs together; out-of-fold image score.", pictures),
        Paragraph(words=f"{said}.{steady}"),
        note(
            "Cox regressions on the tested patients without a penalty, Wald's limits and p. The image score is out of "
            "fold; a score's "
            "standard deviation is that of the tested patients. Numbers are in standard deviations, categories against "
            "their most "
            "frequent level; a missing number is its mean with an input of its own."
        ),
    )
    return [Section(key="hazard-ratios", title="Hazard ratios", items="12e, 15, 23a", body=body)]


def _ratio_row(row: HazardRatio, regression: str) -> list[object]:
    if row.value is None or row.low is None or row.high is None:
        return [regression, row.name, "no maximum of the likelihood", "not defined", "not defined"]
    ratio = f"{row.value:.2f} ({row.low:.2f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{row.high:.2f})"
    return [regression, row.name, ratio, p_value(row.p), p_value(row.proportional_p)]


def probability_words(n_intervals: Sequence[int] | None) -> str:
    """Say where predicted survival comes from.

    Args:
        n_intervals: of the head of each fold; None where it has one log-hazard.
    """
    if n_intervals is None:
        return (
            "Probabilities are those of Cox's model with Breslow's baseline hazard of each fold's training patients, log-hazards "
            "shrunk by what their follow-up bears out (by risks of models that never saw them, where inner folds were made)."
        )
    least, most = min(n_intervals), max(n_intervals)
    many = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"Probabilities come from the heads themselves, and from no baseline: each gives the chance of the event in each of {many} "
        "intervals of time to those who come to its start (logistic hazard; Gensheimer and Narasimhan 2019, PeerJ 7:e6257), "
        "so that hazards need not be proportional. Intervals end at quantiles of the times of the events of the fold's training "
        "patients; survival is the product of 1 less these chances, with a constant rate inside an interval and no change after "
        "the last. "
        "Patients are ranked by one number, the logarithm of the cumulative hazard averaged over the ends (the mortality of "
        "Ishwaran et al. 2008, Ann Appl Stat 2:841); tables call it log-hazard, which it is, but for a constant, where hazards are "
        "proportional."
    )


def calibration_sections(parts: SurvivalParts, pictures: Pictures) -> list[Section]:
    """Return the calibration at some times and over all; nothing where it is not known."""
    if not parts.calibration:
        return []
    rows = []
    for own in parts.calibration:
        slope = number(own.slope, 2)
        if own.slope_low is not None and own.slope_high is not None:
            slope += f" ({own.slope_low:.2f}\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}{own.slope_high:.2f})"
        ratio = number(own.ratio, 2)
        rows.append(
            [time_text(own.time), f"{own.expected:.3f}", f"{own.observed:.3f}", ratio, number(own.intercept, 2), slope]
        )
    whole = None if parts.d_calibration is None else parts.d_calibration.p
    verdict = (
        ""
        if whole is None
        else (
            ": the predicted probabilities do not fit the follow-up"
            if whole < MAX_P
            else ": nothing speaks against the predicted probabilities"
        )
    )
    body: tuple[Block, ...] = (
        table(["until time", "expected", "observed", "expected / observed", "intercept", "slope"], rows),
        *illustration(
            "risk_calibration",
            "Observed against predicted risk, by groups of like predicted risk, with 95 % limits.",
            pictures,
        ),
        Paragraph(words=f"D-calibration over all times: p {p_value(whole)}{verdict}."),
        *illustration(
            "decision_curve",
            "Net benefit of treating by the predicted risk until the middle one of the times (Vickers et al. 2008), beside "
            "treating everybody and nobody: the model helps where it is the highest line.",
            pictures,
        ),
        note(
            f"{probability_words(parts.n_intervals)} Expected: mean "
            "predicted risk; observed: 1 "
            "less Kaplan-Meier. Intercept: logarithm of observed over expected events, 0 is right, below 0 too much risk; "
            "slope: 1 is right, "
            "below 1 risks are spread too far, above 1 not far enough. D-calibration (Haider et al. 2020): whether events "
            "come at predicted "
            "survival probabilities that are spread evenly."
        ),
    )
    return [Section(key="risk-calibration", title="Calibration of the predicted risk", items="12e, 15, 23a", body=body)]


def incidence_sections(parts: SurvivalParts, pictures: Pictures) -> list[Section]:
    """Return the cumulative incidences of the risk groups; nothing where competing events are not known."""
    if not parts.incidence:
        return []
    rows = []
    for own in parts.incidence:
        limits = "" if own.low is None or own.high is None else f" ({own.low:.3f} to {own.high:.3f})"
        shares = [f"{own.own:.3f}{limits}", f"{own.competing:.3f}", f"{own.kaplan_meier:.3f}"]
        rows.append([own.group, time_text(own.time), *shares])
    body: tuple[Block, ...] = (
        table(["group", "until time", "end point (Aalen-Johansen)", "competing event", "1 - Kaplan-Meier"], rows),
        *illustration("cumulative_incidence", INCIDENCE_CAPTION, pictures),
        note(
            "The share of patients who had the end point's event by a time, and the share who had another one first. 1 less "
            "Kaplan-Meier takes those as if they could still have it and says too much. The model's hazard is the cause-specific "
            "one: other events are censored in it."
        ),
    )
    return [Section(key="competing-risks", title="Competing risks", items="12e, 23a", body=body)]
