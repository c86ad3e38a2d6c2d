"""Who was tested: each covariate and the follow-up by class, or by event and censored, and of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from mil.metrics.survival_curves import median_time
from mil.report.blocks import Block, Heading, Paragraph, table
from mil.runs.figure_names import ATTENTION, COMPETING, time_text
from mil.runs.run_store import FinishedRun

MAX_GROUPS, MAX_LEVELS = 8, 10
Groups = Mapping[str, pd.Index]


def patients_blocks(run: FinishedRun) -> list[Block]:
    """Return the table of the tested patients; nothing where nobody was tested or nothing is known of them."""
    known = run.patients.set_index("patient_id") if "patient_id" in run.patients else pd.DataFrame()
    tested = (
        run.predictions[run.predictions["model"] == ATTENTION].drop_duplicates("patient_id").set_index("patient_id")
    )
    names = [name for name in known.columns if name != COMPETING]
    if not len(tested) or not (names or "time" in tested):
        return []
    groups = _groups(tested)
    rows: list[list[object]] = [["patients", *(len(own) for own in groups.values())]]
    if "time" in tested:
        rows.append(
            ["follow-up, median by reverse Kaplan-Meier", *(_follow_up(tested.loc[own]) for own in groups.values())]
        )
    for name in names:
        rows += _rows_of(name, known[name].reindex(tested.index), groups)
    words = "Numbers: median (quartiles); categories: patients (share of those known)."
    return [Heading(words="Who was tested"), table(["of each", *groups], rows), Paragraph(words=words)]


def _groups(tested: pd.DataFrame) -> dict[str, pd.Index]:
    """Return all patients, and those of each class or with and without the event."""
    groups: dict[str, pd.Index] = {"all": tested.index}
    if "event" in tested:
        groups |= {word: tested.index[tested["event"] == value] for word, value in (("event", 1), ("censored", 0))}
    elif "truth" in tested and tested["truth"].nunique() <= MAX_GROUPS:
        groups |= {str(name): tested.index[tested["truth"] == name] for name in sorted(tested["truth"].unique())}
    return groups


def _follow_up(own: pd.DataFrame) -> str:
    if not len(own):
        return "none"
    found = median_time(own["time"].to_numpy(float), 1 - own["event"].to_numpy(int))
    return "not reached" if found.value is None else time_text(found.value)


def _rows_of(name: str, values: pd.Series, groups: Groups) -> Iterator[list[object]]:
    """Yield the rows of one covariate."""
    cells = values.astype(str).str.strip()
    is_known = values.notna() & (cells != "")
    numbers = pd.to_numeric(values.where(is_known), errors="coerce")
    if is_known.any() and numbers[is_known].notna().all() and numbers.nunique() > 2:
        yield [name, *(_quartiles(numbers.loc[own].dropna().to_numpy(float)) for own in groups.values())]
    else:
        levels = cells[is_known].value_counts()
        in_order = sorted(levels.index, key=lambda level: (-int(levels[level]), level))
        shown = in_order[:MAX_LEVELS]
        for level in sorted(shown):
            yield [f"{name}: {level}", *(_share(cells.loc[own], is_known.loc[own], [level]) for own in groups.values())]
        if rest := in_order[MAX_LEVELS:]:
            words = f"{name}: {len(rest)} others"
            yield [words, *(_share(cells.loc[own], is_known.loc[own], rest) for own in groups.values())]
    if not is_known.all():
        yield [f"{name}: not known", *(int((~is_known.loc[own]).sum()) for own in groups.values())]


def _quartiles(values: np.ndarray) -> str:
    if not len(values):
        return "none"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def _share(cells: pd.Series, is_known: pd.Series, levels: list[str]) -> str:
    n, of = int(cells[is_known].isin(levels).sum()), int(is_known.sum())
    return f"{n} ({n / of:.0%})" if of else "0"
