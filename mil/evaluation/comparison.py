"""Two runs on the same patients: what differs, by how much, and whether chance explains it.

One-vs-rest AUROCs by DeLong, everything else by the paired patient bootstrap, folds by the corrected resampled t; p values
of one kind of test are adjusted together (Holm 1979, Scand J Stat 6:65).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from common.failures import StudyError
from mil.evaluation.task import EvaluationTask
from mil.metrics.bootstrap import TOO_FEW, Interval, Resamples, intervals
from mil.metrics.paired_tests import bootstrap_p, corrected_resampled_t, holm
from mil.runs.comparison_record import Comparison, FoldTest, PairedMetric
from mil.runs.figure_names import ATTENTION
from mil.runs.run_store import FinishedRun, by_fold, by_patient

SHOWN_DIFFERENT = 5
Place = tuple[int, int]  # repeat, fold


def compare_runs(
    first: FinishedRun, second: FinishedRun, task: EvaluationTask, *, n_bootstrap: int, seed: int
) -> Comparison:
    """Compare the attention models of two runs; differences are the first less the second.

    Raises:
        StudyError: they have other tasks, classes, patients or labels; the difference is named.
    """
    check_comparable(first, second, task)
    plan = task.resampling_plan(first, n_bootstrap=n_bootstrap, seed=seed)
    own, other = (task.resampled_metrics(run, ATTENTION, plan) for run in (first, second))
    return Comparison(
        task=first.task,
        first=first.facts.run,
        second=second.facts.run,
        n_patients=len(plan.counts),
        n_bootstrap=n_bootstrap,
        bootstrap=_paired_bootstrap(own, other, task.named),
        folds=_fold_tests(first, second, task),
        delong=task.tests_by_class(first, second),
        against=second.folder.name,
        predictions_sha256=first.predictions_sha256,
        second_predictions_sha256=second.predictions_sha256,
    )


def check_comparable(first: FinishedRun, second: FinishedRun, task: EvaluationTask) -> None:
    """Refuse two runs that do not predict the same thing for the same patients.

    Raises:
        StudyError: names the difference.
    """
    names = f"{first.folder.name} and {second.folder.name}"
    for what, own, other in (
        ("task", first.task, second.task), ("targets", _targets(first), _targets(second)),
        ("classes", list(first.classes), list(second.classes)),
    ):  # fmt: skip
        if own != other:
            raise StudyError(f"runs {names}: {what} is {own} and {other}; compare like with like")
    truths = list(task.truth)
    tables = [by_patient(run.predictions, ATTENTION, [], truths) for run in (first, second)]
    if not len(tables[0]) or not len(tables[1]):
        raise StudyError(f"runs {names}: one has no test patient, so there is nothing to compare")
    only = [sorted(set(tables[index].index) - set(tables[1 - index].index)) for index in (0, 1)]
    if only[0] or only[1]:
        description = "; ".join(
            f"{len(patients)} only in {run.folder.name}: {_few(patients)}"
            for patients, run in zip(only, (first, second), strict=True)
            if patients
        )
        raise StudyError(f"runs {names} tested different patients: {description}. Train both on the same splits")
    differing = tables[0].index[(tables[0][truths] != tables[1][truths]).any(axis=1)]
    if len(differing):
        raise StudyError(
            f"runs {names}: {' and '.join(truths)} differ for {len(differing)} patient(s): {_few(list(differing))}"
        )


def _targets(run: FinishedRun) -> list[str]:
    """Return what a run of columns predicts, in words; nothing for the subtype and survival."""
    if run.targets is None:
        return []
    return [
        f"{own.column} ({own.kind}{': ' if own.classes else ''}{', '.join(own.classes)})" for own in run.targets.targets
    ]


def _few(patients: Sequence[str]) -> str:
    return ", ".join(patients[:SHOWN_DIFFERENT]) + (" ..." if len(patients) > SHOWN_DIFFERENT else "")


def _paired_bootstrap(first: Resamples, second: Resamples, names: Sequence[str]) -> tuple[PairedMetric, ...]:
    difference = first.minus(second)
    own, other, paired = intervals(first), intervals(second), intervals(difference)
    kept = [name for name in names if name in paired and paired[name].value is not None]
    p_values = [paired_p(difference, paired[name], name) for name in kept]
    return tuple(
        PairedMetric(
            name=name, first=own[name].value, second=other[name].value, difference=paired[name], p=p, p_holm=adjusted
        )
        for name, p, adjusted in zip(kept, p_values, holm(p_values), strict=True)
    )


def paired_p(difference: Resamples, span: Interval, name: str) -> float | None:
    """Return the two-sided p of a difference with its interval; None where too few patients were compared."""
    return None if span.method == TOO_FEW else bootstrap_p(difference.bootstrap[name])


def _fold_tests(first: FinishedRun, second: FinishedRun, task: EvaluationTask) -> tuple[FoldTest, ...]:
    """Return the corrected t of each metric of the folds; a reason instead when the runs were folded differently."""
    tested, other_tested = (_test_parts(run) for run in (first, second))
    if tested != other_tested:
        why = "the runs have different folds: there are no pairs of folds to compare"
        return (FoldTest(name=task.metrics_kind.main, why=why),)
    n_train = {(fold.repeat, fold.fold): fold.n_train + fold.n_val for fold in first.facts.folds}
    tests = []
    other_values = _values_by_fold(second, task)
    for name, own in _values_by_fold(first, task).items():
        differences = {
            place: value - other for place, value in own.items() if (other := other_values[name].get(place)) is not None
        }
        test = corrected_resampled_t(
            np.array(list(differences.values()), dtype=np.float64),
            np.array([n_train[place] for place in differences], dtype=np.float64),
            np.array([len(tested[place]) for place in differences], dtype=np.float64),
        )
        tests.append(FoldTest(name=name, **asdict(test)))
    adjusted = holm([test.p for test in tests])
    return tuple(replace(test, p_holm=p) for test, p in zip(tests, adjusted, strict=True))


def _test_parts(run: FinishedRun) -> dict[Place, list[str]]:
    return {place: sorted(rows["patient_id"]) for place, rows in by_fold(run.predictions, ATTENTION)}


def _values_by_fold(run: FinishedRun, task: EvaluationTask) -> dict[str, dict[Place, float]]:
    """Return each metric in each fold where it is defined."""
    values: dict[str, dict[Place, float]] = {}
    for place, rows in by_fold(run.predictions, ATTENTION):
        for name, value in task.metrics_of_fold(run, place, rows).values.items():
            known = values.setdefault(name, {})
            if value is not None:
                known[place] = value
    return values
