"""What the slides add to the clinic, in a table and in words, and whether it is more than the subtype."""

from __future__ import annotations

from mil.evaluation.survival_metrics import SurvivalMetrics
from mil.evaluation.survival_parts.records import InsideGroups, SurvivalParts
from mil.report.blocks import Block, Paragraph, Section, note, p_value, table, with_interval
from mil.runs.figure_names import ATTENTION, CLINICAL, COMBINED, JOINT, MODEL_NAMES, NAMES

SHOWN = ("c_index", "c_index_within_folds", "uno_c")


def added_value_section(metrics: SurvivalMetrics, parts: SurvivalParts) -> Section:
    """Say what the slides add to the clinic, and whether it is more than the subtype."""
    inside = parts.inside_groups
    figures = {ATTENTION: metrics.attention, **metrics.baselines, **{m: own.figures for m, own in parts.models.items()}}
    head = ["model", *(NAMES[name] for name in SHOWN)]
    head += [] if inside is None else [f"C-index inside one {inside.column}"]
    rows: list[list[object]] = []
    for model, own in figures.items():
        row: list[object] = [
            MODEL_NAMES[model],
            *(with_interval(own.get(name)) for name in SHOWN),
        ]
        rows.append(row if inside is None else [*row, with_interval(inside.c_index.get(model))])
    differences = [
        [f"{MODEL_NAMES[model]}, less {MODEL_NAMES[part]}", with_interval(named["c_index"], signed=True)]
        for model, own in parts.models.items()
        for part, named in own.differences.items()
    ]
    body: list[Block] = [table(head, rows)]
    if differences:
        body.append(table(["difference of the C-index (paired)", "95 % interval"], differences))
    body += [Paragraph(words=words) for words in (_joint_words(parts), _group_words(metrics, inside)) if words]
    body.append(
        note(
            f"{MODEL_NAMES[COMBINED]}: the mean of both scores, declared beforehand for every run. {MODEL_NAMES[JOINT]}: a "
            f"penalised Cox model "
            "of the clinical covariates and the image score, fitted to each fold's training patients with the scores that "
            "inner models give "
            "those they never saw; scores of the fold's own model would know their outcomes. The likelihood-ratio test is "
            "of two "
            "regressions on the tested patients, with and without the out-of-fold score, which it takes as given: models of folds "
            "share training patients, so its p is too small; the interval of the difference allows for that."
        )
    )
    return Section(key="added-value", title="What the slides add", items="12c, 12e, 23a", body=tuple(body))


def _joint_words(parts: SurvivalParts) -> str:
    ratio = parts.likelihood_ratio
    if ratio is None:
        return "There are no clinical covariates, so what the slides add to them is not known."
    said = f"Beside the clinical covariates the image score has a likelihood-ratio p of {p_value(ratio.p)}"
    joint = parts.models.get(JOINT)
    own = None if joint is None else joint.differences.get(CLINICAL, {}).get("c_index")
    if own is None or own.value is None:
        return f"{said}. There is no joint model out of fold: it takes inner folds (--cross_fit)."
    is_more = own.low is not None and own.low > 0
    verdict = "the slides add to the clinic" if is_more else "the slides are not shown to add to the clinic"
    return f"{said}; image and clinic together less the clinic alone: C-index {with_interval(own, signed=True)}, so {verdict}."


def _group_words(metrics: SurvivalMetrics, inside: InsideGroups | None) -> str:
    """Say whether a C-index is more than the telling apart of groups."""
    if inside is None:
        return ""
    plain, own = metrics.attention["c_index"], inside.c_index[ATTENTION]
    if plain.value is None or own.value is None or own.low is None or own.high is None:
        return f"Inside one {inside.column} there are too few patients or events for an interval of the C-index."
    said = (
        f"Of all pairs of patients the attention model ranks {plain.value:.3f} rightly, of pairs of one {inside.column} "
        f"{with_interval(own)}"
    )
    if own.low > 0.5:
        return f"{said}: it tells more than the {inside.column}."
    is_high = plain.low is not None and plain.low > 0.5
    return (
        f"{said}: what it knows of survival may be the {inside.column} alone, which needs no survival model."
        if is_high
        else f"{said}: neither is shown to be better than chance."
    )
