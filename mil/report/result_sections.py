"""The report's results that every task has: discrimination, folds, subgroups, learning curve."""

from __future__ import annotations

from typing import Any

from mil.evaluation.metrics_record import RunMetrics
from mil.report.blocks import Block, Paragraph, Section, counted, illustration, note, number, table, with_interval
from mil.report.comparison_section import comparison_section, heads_section
from mil.report.task import Pictures, ReportTask, Wording
from mil.runs.comparison_record import Comparison
from mil.runs.figure_names import ATTENTION, CALIBRATION, MEAN_POOL, MODEL_NAMES, NAMES
from mil.runs.heads_record import Heads


def result_sections(
    metrics: RunMetrics, pictures: Pictures, compared: Comparison | None, heads: Heads | None, task: ReportTask[Any]
) -> list[Section]:
    """Return the sections of an evaluated run."""
    return [
        _discrimination(metrics, pictures, task),
        *task.own_sections(metrics, pictures),
        _folds(metrics, task),
        *_subgroups(metrics, task.wording),
        *_learning_curve(metrics, pictures),
        *([] if heads is None else [heads_section(heads)]),
        *([] if compared is None else [comparison_section(compared)]),
    ]


def _discrimination(metrics: RunMetrics, pictures: Pictures, task: ReportTask[Any]) -> Section:
    head = ["metric", MODEL_NAMES[ATTENTION]]
    head += [words for model in metrics.baselines for words in (MODEL_NAMES[model], "difference (paired)")]
    rows = []
    for name, own in metrics.attention.items():
        if name in CALIBRATION:
            continue
        row = [NAMES[name], with_interval(own)]
        for model, other in metrics.baselines.items():
            row += [with_interval(other[name]), with_interval(metrics.differences[model][name], signed=True)]
        rows.append([*row, number(metrics.chance.get(name))])
    wording = task.wording
    body = [
        table([*head, "chance"], rows),
        note(
            f"{counted(metrics.n_patients, 'test patient')}, each predicted by models that never saw it. In brackets the 95 % "
            f"interval of {metrics.bootstrap.n} patient bootstraps, drawn {wording.drawn}: BCa where bias and acceleration are "
            f"defined, else percentiles{_widened(metrics.bootstrap.widening)}. Where every resample is alike, a share has its "
            f"exact limits (Clopper and Pearson) and {wording.ranked} a conservative bound from the number of independent "
            f"pairs; other figures have none. {wording.too_few} metrics.json says which is which. The "
            f"baselines are penalised {wording.regressions}, of the mean of a patient's tiles and of clinical covariates "
            f"alone, with penalties fixed beforehand. {task.chance_words(metrics)}"
        ),
        *(Paragraph(words=f"Note: {words}.") for words in metrics.notes),
        *task.discrimination_blocks(metrics, pictures),
    ]
    return Section(
        key="discrimination", title="Discrimination, out of fold, by patient", items="12e, 23a", body=tuple(body)
    )


def _widened(factor: float) -> str:
    if factor == 1:
        return ""
    return (
        f"; all are {factor:.2f} times as wide as that (but end where the metric does), since models of folds share training "
        "patients, which no bootstrap of their predictions sees (Nadeau and Bengio 2003)"
    )


def _folds(metrics: RunMetrics, task: ReportTask[Any]) -> Section:
    names, values = task.fold_table(metrics)
    rows = [[fold.repeat, fold.fold, fold.n, *own] for fold, own in zip(metrics.folds_tested, values, strict=True)]
    words = "A fold's figures are of few patients and show the spread; the pooled ones above are the result."
    body = (table(["repeat", "fold", "test patients", *names], rows), note(words))
    return Section(key="folds-tested", title="By fold", items="23b", body=body)


def _subgroups(metrics: RunMetrics, wording: Wording) -> list[Section]:
    groups = metrics.subgroups
    if not groups:
        return []
    names = next((list(group.metrics) for group in groups if group.metrics), [])
    has_events = any(group.events is not None for group in groups)
    head = [
        "column",
        "group",
        "patients",
        *(["events"] if has_events else []),
        *(NAMES[name] for name in names),
        "note",
    ]
    rows = [
        [group.column, group.group, group.n, *([group.events] if has_events else [])]
        + [with_interval(group.metrics[name]) if group.metrics else "not given" for name in names]
        + [group.why]
        for group in groups
    ]
    words = (
        f"Numbers are parted at the median of each fold's training patients. {wording.groups}"
        "No test was made: groups are small, and intervals that overlap or not are no test either."
    )
    return [
        Section(key="subgroups", title="Subgroups", items="12d, 14, 23a, 23b", body=(table(head, rows), note(words)))
    ]


def _learning_curve(metrics: RunMetrics, pictures: Pictures) -> list[Section]:
    if not metrics.learning_curve:
        return []
    rows = [
        [f"{point.share:.0%}", number(point.n_train, 1), with_interval(point.attention), with_interval(point.mean_pool)]
        for point in metrics.learning_curve
    ]
    body: tuple[Block, ...] = (
        table(["training patients", "a fold", MODEL_NAMES[ATTENTION], MODEL_NAMES[MEAN_POOL]], rows),
        *illustration("learning_curve", "Result against training patients; band: 95 % interval.", pictures),
        note(
            "Smaller shares are parts of larger ones, every class alike. The test part and the inner validation part stay the "
            "same, so the curve is a little kind to small shares."
        ),
    )
    return [Section(key="learning-curve", title="Learning curve", items="10, 21", body=body)]
