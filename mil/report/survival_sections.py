"""What the report of a survival run has of its own: risk groups, survival over time, and the pages of `survival_pages`."""

from __future__ import annotations

from collections.abc import Sequence

from mil.evaluation.survival_metrics import OverTimeMetrics, RiskGroups, SurvivalMetrics
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.metrics.survival_curves import MedianTime
from mil.report.blocks import (
    Block,
    Paragraph,
    Section,
    counted,
    illustration,
    note,
    number,
    p_value,
    table,
    with_interval,
)
from mil.report.drawing import Picture
from mil.report.survival_figures import (
    draw_brier,
    draw_decision_curve,
    draw_hazard_ratios,
    draw_risk_calibration,
    draw_scores,
    draw_survival_curves,
)
from mil.report.survival_pages.added_value_section import added_value_section
from mil.report.survival_pages.incidence_figure import draw_incidence
from mil.report.survival_pages.regression_sections import (
    calibration_sections,
    hazard_sections,
    incidence_sections,
    probability_words,
)
from mil.report.task import Pictures, Wording
from mil.runs.facts import RunFacts
from mil.runs.figure_names import ATTENTION, MODEL_NAMES, NAMES, time_text
from mil.runs.run_store import FinishedRun
from mil.survival.risk_groups import BY_QUANTILES

CAPTIONS = {
    "kaplan_meier": "Kaplan-Meier curves of the risk groups, parted by the log-hazards of their fold's training patients "
    "(predicted out of fold, where inner folds were made); "
    "bands: 95 % limits (Greenwood's variance on the scale of log(-log)); small bars: censored patients.",
    "scores": "Risk score and follow-up of every patient, out of fold.",
}


class SurvivalReport:
    """The report of log-hazards."""

    title = "Survival"
    wording = Wording(
        drawn="among events and among censored patients",
        ranked="a C-index",
        too_few=f"Under {MIN_PATIENTS} patients or {MIN_EVENTS} events only shares have limits.",
        regressions="Cox regressions",
        groups="",
    )

    def pictures(self, run: FinishedRun, metrics: SurvivalMetrics) -> dict[str, Picture]:
        """Draw Kaplan-Meier curves, scores and, where it is known, the Brier score over time."""
        pictures = {
            "kaplan_meier": draw_survival_curves(run, metrics.risk_groups.log_rank_p), "scores": draw_scores(run),
        }  # fmt: skip
        own, parts = metrics.over_time, metrics.parts
        if (incidence := draw_incidence(run)) is not None:
            pictures["cumulative_incidence"] = incidence
        if own is not None:
            pictures["brier"] = draw_brier(own.brier, own.time_unit)
        table = None if parts is None else parts.adjusted or parts.alone
        if table is not None and any(row.value is not None for row in table.rows):
            pictures["hazard_ratios"] = draw_hazard_ratios(table)
        if parts is not None and parts.calibration:
            middle = parts.calibration[len(parts.calibration) // 2]
            pictures["risk_calibration"] = draw_risk_calibration(middle, run.facts.time_unit)
            pictures["decision_curve"] = draw_decision_curve(parts.decision, middle.time, run.facts.time_unit)
        return pictures

    def outcome_counts(self, facts: RunFacts) -> Sequence[Sequence[object]]:
        """Return the number of events, and what times are in."""
        unit = facts.time_unit or "not stated: as in the table (time_unit under columns in study.yaml)"
        rows: list[list[object]] = [["events", facts.n_events], ["unit of time", unit]]
        named = [
            ("endpoint", "end point"),
            ("horizon", "censored beyond"),
            ("strata", "strata"),
            ("entry", "late entry by"),
        ]
        return rows + [[words, facts.settings[key]] for key, words in named if facts.settings.get(key)]

    def chance_words(self, metrics: SurvivalMetrics) -> str:
        """Return what a C-index of chance is."""
        return "Chance is a risk that is the same for everyone."

    def discrimination_blocks(self, metrics: SurvivalMetrics, pictures: Pictures) -> list[Block]:
        """Return the risk groups, their curves and every score."""
        captions = CAPTIONS.items()
        return [
            *([] if metrics.parts is None else [_follow_up(metrics.parts.follow_up, metrics)]),
            _risk_groups(metrics.risk_groups),
            *(block for name, caption in captions for block in illustration(name, caption, pictures)),
        ]

    def own_sections(self, metrics: SurvivalMetrics, pictures: Pictures) -> list[Section]:
        """Return what the slides add, hazard ratios, survival over time and its calibration."""
        parts = metrics.parts
        how = probability_words(None if parts is None else parts.n_intervals)
        over_time = [] if metrics.over_time is None else [_over_time(metrics.over_time, pictures, how)]
        if parts is None:
            return over_time
        before = [added_value_section(metrics, parts), *hazard_sections(parts, pictures)]
        return [*before, *incidence_sections(parts, pictures), *over_time, *calibration_sections(parts, pictures)]

    def fold_table(self, metrics: SurvivalMetrics) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        """Return each fold's events and concordance."""
        return ["events", NAMES["c_index"]], [[fold.events, number(fold.c_index)] for fold in metrics.folds_tested]


def _follow_up(median: MedianTime, metrics: SurvivalMetrics) -> Paragraph:
    unit = "" if metrics.over_time is None or not metrics.over_time.time_unit else f" {metrics.over_time.time_unit}"
    ends = ["not reached" if end is None else time_text(end) for end in (median.low, median.high)]
    found = "not reached" if median.value is None else f"{time_text(median.value)}{unit} ({ends[0]} to {ends[1]})"
    return Paragraph(words=f"Median follow-up of the tested patients by reverse Kaplan-Meier: {found}.")


def _risk_groups(groups: RiskGroups) -> Paragraph:
    how = groups.parted_by if groups.parted_by in BY_QUANTILES else f"{groups.parted_by} of their SD from their mean"
    said = "; ".join(
        f"{own.name}: {counted(own.n, 'patient')}, {counted(own.events, 'event')}" for own in reversed(groups.groups)
    ).capitalize()
    return Paragraph(
        words=f"{said}; log-rank p {p_value(groups.log_rank_p)}: it asks whether these groups differ, which were made out of fold "
        "by the models of all folds (it allows for the training patients these share, as intervals do), and not how far a risk "
        f"goes. The cut-offs of each fold ({how}) are made of the risks "
        "of its training patients, as inner models predict those they never saw (or, without inner folds, as its own model does). "
        "Scores of different folds are put on one scale by mean and SD of the same; the C-index within folds needs no such scale."
    )


def _over_time(own: OverTimeMetrics, pictures: Pictures, how: str) -> Section:
    unit = f" {own.time_unit}" if own.time_unit else ""
    rows = [
        ["integrated Brier score", with_interval(own.integrated_brier)],
        ["of the Kaplan-Meier curve of training patients", with_interval(own.reference)],
        ["difference (paired)", with_interval(own.difference, signed=True)],
        *([f"AUC at time {time_text(each.time)}{unit}", with_interval(each.interval)] for each in own.auc),
    ]
    is_better = own.difference.high is not None and own.difference.high < 0
    caption = "Brier score over time, out of fold; dashed: the Kaplan-Meier curve of training patients."
    body: tuple[Block, ...] = (
        Paragraph(
            words=f"The predicted probabilities are {'better than' if is_better else 'not shown to be better than'} "
            "a curve that is the same for everyone (lower Brier scores are better)."
        ),
        table(["metric", MODEL_NAMES[ATTENTION]], rows),
        *illustration("brier", caption, pictures),
        note(
            f"{how} Brier score, AUC (events until a time against those followed beyond it) and Uno's C (pairs before time "
            f"{time_text(own.horizon)}{unit}) weigh patients by the chance of not being censored, from training patients. AUCs "
            "are at quartiles of the times of events."
        ),
    )
    return Section(key="over-time", title="Survival probabilities over time", items="12e, 15, 23a", body=body)
