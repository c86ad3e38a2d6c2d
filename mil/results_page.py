"""All runs of a study beside each other: a page and a table, made of their metrics.json and run.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.files import write_table
from common.study import Study
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics, read_metrics
from mil.pages.page import Block, Link, Listing, Page, Part, Words, cells, write_page
from mil.report.blocks import interval_text
from mil.report.verdict import verdict
from mil.runs.facts import RunFacts
from mil.runs.figure_names import ATTENTION, NAMES
from mil.runs.run_folder import RunFolder, evaluated_runs
from mil.runs.run_store import read_facts
from mil.tasks.targets import task_of_run

COLUMNS = (
    "task", "run", "model", "metric", "value", "low", "high", "method", "chance", "n_patients", "encoder", "head", "splits",
)  # fmt: skip
CHOOSING = (
    "Choosing one of several runs by these figures is choosing on test patients: the figure of the chosen one is then too good. "
    "Say beforehand which run counts, compare two with mil/evaluate.py --against, or let --search choose by inner folds."
)


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A run that was evaluated."""

    task: str
    folder: RunFolder
    facts: RunFacts
    metrics: RunMetrics | NotEvaluated

    @property
    def head(self) -> str:
        """The name of its head."""
        return str(self.facts.settings.get("head", ""))


def known_runs(study: Study) -> list[KnownRun]:
    """Return all evaluated runs of a study, by task and name.

    Raises:
        StudyError: a run's files are damaged; names the file and what to do.
    """
    return [
        KnownRun(
            task=task, folder=folder, facts=read_facts(folder),
            metrics=read_metrics(folder, task_of_run(folder, task).evaluation.metrics_kind),
        )
        for task, folder in evaluated_runs(study)
    ]  # fmt: skip


def write_results(study: Study, runs: Sequence[KnownRun]) -> None:
    """Write runs/index.html and runs/results.csv, atomically."""
    folder = study.root / "runs"
    write_table(folder / "results.csv", COLUMNS, [row for run in runs for row in _rows(run)])
    write_page(folder / "index.html", results_page(study, runs))


def _rows(run: KnownRun) -> list[list[object]]:
    """Return a row a model and metric of a run."""
    metrics = run.metrics
    if isinstance(metrics, NotEvaluated):
        return []
    rows: list[list[object]] = []
    for model, figures in {ATTENTION: metrics.attention, **metrics.baselines}.items():
        for name, own in figures.items():
            ends = [_cell(each) for each in (own.value, own.low, own.high)]
            rows.append(
                [run.task, run.folder.name, model, name, *ends, own.method, _cell(metrics.chance.get(name)), metrics.n_patients,
                 run.facts.encoder_name, run.head, run.facts.split.name]
            )  # fmt: skip
    return rows


def _cell(value: float | None) -> object:
    return "" if value is None else value


def results_page(study: Study, runs: Sequence[KnownRun]) -> Page:
    """Return the page: a table a task, and what each run found in words."""
    parts = []
    for task in dict.fromkeys(run.task for run in runs):
        own = [run for run in runs if run.task == task]
        blocks: list[Block] = [_listing(task, own)]
        blocks += [Words(words=f"{run.folder.name}: {words}") for run in own if (words := verdict(run.metrics))]
        parts.append(Part(title=task, blocks=tuple(blocks)))
    if any(len([run for run in runs if run.task == task]) > 1 for task in {run.task for run in runs}):
        parts.append(Part(title="Before one is chosen", blocks=(Words(words=CHOOSING),)))
    return Page(
        title=f"Runs of {study.root.resolve().name}", is_synthetic=any(run.facts.is_synthetic for run in runs), parts=tuple(parts),
        lead=f"{len(runs)} evaluated runs. All figures are out of fold, with 95 % intervals over patients in brackets.",
    )  # fmt: skip


def _listing(task: str, runs: Sequence[KnownRun]) -> Listing:
    """Return the runs of a task: the metric that their verdict is about, of the model and its baselines."""
    evaluated = [run for run in runs if isinstance(run.metrics, RunMetrics)]
    main = evaluated[0].metrics.main if evaluated else ""  # type: ignore[union-attr]
    rows = []
    for run in runs:
        metrics, facts = run.metrics, run.facts
        first = [
            Link(words=run.folder.name, place=(run.task, run.folder.name, "report.html")), facts.n_patients,
            facts.encoder_name or "not said", run.head, facts.split.name,
        ]  # fmt: skip
        if isinstance(metrics, NotEvaluated):
            rows.append(cells([*first, "no patient is in a test set", "", "", ""]))
            continue
        own = metrics.attention[main]
        base = ["none" if each is None else interval_text(each[main]) for each in (metrics.mean_pool, metrics.clinical)]
        gaps = [
            f"{interval_text(own_gap[main], signed=True)} to {model.replace('_', ' ')}"
            for model, own_gap in metrics.differences.items()
        ]
        rows.append(cells([*first, interval_text(own), *base, "; ".join(gaps)]))
    name = NAMES[main] if main else "figure"
    head = ("run", "patients", "encoder", "head", "folds", name, "mean pool", "clinical", "paired difference")
    return Listing(caption=f"Runs of the task {task}", head=head, rows=tuple(rows))
