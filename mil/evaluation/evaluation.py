"""From saved out-of-fold predictions to every metric by patient, with an interval and a baseline beside it."""

from __future__ import annotations

from mil.evaluation.image_metrics import image_metrics
from mil.evaluation.learning_curve import learning_curve
from mil.evaluation.metrics_record import BagCounts, BootstrapFacts, NotEvaluated, RunMetrics
from mil.evaluation.subgroups import subgroup_table
from mil.evaluation.task import EvaluationTask
from mil.metrics.bootstrap import named_intervals
from mil.runs.figure_names import ATTENTION, BASELINES, CLINICAL, MEAN_POOL, PRIOR
from mil.runs.run_store import FinishedRun, by_fold


def metrics_of_run(run: FinishedRun, task: EvaluationTask, *, n_bootstrap: int, seed: int) -> RunMetrics | NotEvaluated:
    """Return all metrics of a run.

    Args:
        run: a run as read from its folder.
        task: what the run predicts.
        n_bootstrap: number of patient bootstraps.
        seed: of the bootstrap.
    """
    if not len(run.predictions):
        return NotEvaluated(task=run.task, is_synthetic=run.facts.is_synthetic)
    plan = task.resampling_plan(run, n_bootstrap=n_bootstrap, seed=seed)
    samples = {model: task.resampled_metrics(run, model, plan) for model in run.models if model != PRIOR}
    named = {model: named_intervals(own, task.named) for model, own in samples.items()}
    shared = RunMetrics(
        task=run.task,
        evaluated=True,
        notes=task.notes(run),
        attention=named[ATTENTION],
        mean_pool=named.get(MEAN_POOL),
        clinical=named.get(CLINICAL),
        differences={
            model: named_intervals(samples[ATTENTION].minus(samples[model]), task.named)
            for model in BASELINES
            if model in samples
        },
        n_patients=len(plan.counts),
        chance=task.chance(run),
        folds_tested=tuple(
            task.metrics_of_fold(run, place, rows) for place, rows in by_fold(run.predictions, ATTENTION)
        ),
        images=image_metrics(
            run.images,
            run.classes,
            n_bootstrap=n_bootstrap,
            seed=seed,
            patient_of=run.facts.patient_of,
            widening=plan.widening,
        ),
        subgroups=subgroup_table(run, task, n_bootstrap=n_bootstrap, seed=seed),
        learning_curve=learning_curve(run, task, named, n_bootstrap=n_bootstrap, seed=seed),
        bags=BagCounts(n=run.facts.n_patients, n_of_one_tile=run.facts.n_bags_of_one_tile),
        bootstrap=BootstrapFacts(
            n=n_bootstrap, seed=seed, n_drawn=_n_patients(run, len(plan.counts)), widening=plan.widening
        ),
        unit=run.facts.unit,
        is_synthetic=run.facts.is_synthetic,
    )
    return task.metrics_of_run(run, shared, samples[ATTENTION], plan)


def _n_patients(run: FinishedRun, n_bags: int) -> int:
    """Return how many patients the bags that were tested are of."""
    owners = run.facts.patient_of
    return len({owners[bag] for bag in run.predictions["patient_id"]}) if owners else n_bags
