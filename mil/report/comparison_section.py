"""The report's comparison of a run with another on the same patients."""

from __future__ import annotations

from collections.abc import Sequence

from mil.report.blocks import Block, Paragraph, Section, Table, counted, note, number, p_value, table, with_interval
from mil.report.verdict import heads_words
from mil.runs.comparison_record import ClassTest, Comparison, FoldTest
from mil.runs.figure_names import NAMES
from mil.runs.heads_record import Heads


def comparison_section(compared: Comparison) -> Section:
    """Return paired bootstrap, DeLong's tests and the corrected t over folds."""
    first, second = compared.first, compared.second
    rows = [
        [
            NAMES[own.name], number(own.first), number(own.second), with_interval(own.difference, signed=True),
            p_value(own.p), p_value(own.p_holm),
        ]
        for own in compared.bootstrap
    ]  # fmt: skip
    body: list[Block] = [
        Paragraph(
            words=f"{counted(compared.n_patients, 'patient')}, {compared.n_bootstrap} paired bootstraps; {first} less {second}."
        ),
        table(["paired bootstrap", first, second, "difference", "p", "p (Holm)"], rows),
    ]
    if compared.delong is not None:
        body.append(_delong(compared.delong, first, second))
    rows = [_fold_row(own) for own in compared.folds]
    body.append(table(["corrected resampled t over folds", "mean difference", "t", "p", "p (Holm)"], rows))
    return Section(key="comparison", title=f"Compared with the run {second}", items="12e, 23a", body=tuple(body))


def heads_section(heads: Heads) -> Section:
    """Return what several heads reach on the same folds, and which differences chance explains."""
    first, *others = heads.heads
    rows = [[first.head, with_interval(first.figure), "", "", ""]]
    for own in others:
        assert own.difference is not None
        rows.append(
            [
                own.head,
                with_interval(own.figure),
                with_interval(own.difference, signed=True),
                p_value(own.p_holm),
                heads_words(own),
            ]
        )
    head = ["head", NAMES[heads.metric], f"less {first.head} (paired)", "p (Holm)", ""]
    return Section(key="heads", title="Heads on the same folds", items="12c, 12e", body=(
        table(head, rows),
        note(
            f"{counted(heads.n_patients, 'test patient')}, {heads.n_bootstrap} paired bootstraps; every head was trained on the "
            "same folds with the same settings. A head picked here because it is the best of several is flattered by that: "
            "take it to other patients before you believe its lead."
        ),
    ))  # fmt: skip


def _delong(tests: Sequence[ClassTest], first: str, second: str) -> Table:
    rows = [
        [own.class_name, own.n, number(own.first), number(own.second), number(own.standard_error), p_value(own.p),
         p_value(own.p_holm)]
        for own in tests
    ]  # fmt: skip
    head = ["DeLong, AUROC against the rest", "patients", first, second, "standard error", "p", "p (Holm)"]
    return table(head, rows)


def _fold_row(own: FoldTest) -> list[str]:
    if own.why is not None:
        return [NAMES[own.name], own.why, "none", "none", "none"]
    return [NAMES[own.name], number(own.mean), number(own.t, 2), p_value(own.p), p_value(own.p_holm)]
