"""The report's search for settings: over what, how many trials, and what each fold chose by its inner folds."""

from __future__ import annotations

from mil.report.blocks import Folded, Paragraph, Section, counted, note, number, table
from mil.runs.search_record import Search

SAMPLERS = {"tpe": "a tree-structured Parzen estimator", "random": "drawing at random"}


def search_sections(search: Search | None) -> list[Section]:
    """Return the section; none where nothing was searched."""
    if search is None:
        return []
    names = list(search.space)
    n_failed = sum(trial.loss is None for own in search.folds for trial in own.trials)
    n_inner = sorted({own.n_inner_folds for own in search.folds})
    words = (
        f"In every fold settings were searched anew: {counted(search.n_trials, 'trial')} a fold "
        f"({sum(len(own.trials) for own in search.folds)} in all, {n_failed} failed) by {SAMPLERS[search.sampler]}, each judged by "
        f"the mean loss of {' or '.join(map(str, n_inner))} inner folds of the fold's training patients. No test patient was seen, "
        "so the figures above hold the cost of the search (nested cross-validation)."
    )
    rows = [
        [
            own.repeat, own.fold, own.taken.number, *(own.taken.values[name] for name in names), number(own.taken.loss),
            number(next((trial.loss for trial in own.trials if trial.number == 0), None)),
        ]
        for own in search.folds
    ]  # fmt: skip
    head = ["repeat", "fold", "trial chosen", *names, "inner loss", "of the first trial"]
    body = (
        Paragraph(words=words),
        table(head, rows),
        note(
            "The first trial is the run's own settings, where the space holds them. The loss of the chosen trial is the least of "
            "many, so it is too good: it is no result. Every trial stands in search.csv."
        ),
        Folded(title="What was searched", table=table(["setting", "values"], list(search.space.items()))),
    )
    return [Section(key="search", title="Search for settings", items="9a, 12c", body=body)]
