"""Heads on the same patients and folds: what each reaches, and its paired difference to the first."""

from __future__ import annotations

from collections.abc import Sequence

from mil.evaluation.comparison import check_comparable, paired_p
from mil.evaluation.task import EvaluationTask
from mil.metrics.bootstrap import intervals
from mil.metrics.paired_tests import holm
from mil.runs.figure_names import ATTENTION
from mil.runs.heads_record import HeadResult, Heads
from mil.runs.run_store import FinishedRun


def compare_heads(
    runs: Sequence[tuple[str, FinishedRun]], task: EvaluationTask, *, n_bootstrap: int, seed: int
) -> Heads:
    """Compare the runs of several heads by the main metric of their task; p values are adjusted together (Holm 1979).

    Args:
        runs: head and run; differences are each less the first.
        task: what they predict.
        n_bootstrap: patient bootstraps.
        seed: of the bootstrap.

    Raises:
        StudyError: two runs have other classes, patients or labels; the difference is named.
    """
    (_, first), main = runs[0], task.metrics_kind.main
    for _, other in runs[1:]:
        check_comparable(first, other, task)
    plan = task.resampling_plan(first, n_bootstrap=n_bootstrap, seed=seed)
    samples = [task.resampled_metrics(run, ATTENTION, plan) for _, run in runs]
    differences = [own.minus(samples[0]) for own in samples[1:]]
    spans = [intervals(own)[main] for own in differences]
    p_values = [paired_p(own, span, main) for own, span in zip(differences, spans, strict=True)]
    adjusted = holm(p_values)
    return Heads(
        metric=main, n_patients=len(plan.counts), n_bootstrap=n_bootstrap,
        heads=tuple(
            HeadResult(
                head=head, run=run.folder.name, figure=intervals(own)[main], difference=span, p=p, p_holm=p_holm,
                predictions_sha256=run.predictions_sha256,
            )
            for (head, run), own, span, p, p_holm in zip(
                runs, samples, [None, *spans], [None, *p_values], [None, *adjusted], strict=True
            )
        ),
    )  # fmt: skip
