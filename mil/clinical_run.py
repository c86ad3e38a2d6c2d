"""Cross-validated models of clinical covariates alone, for a study whose slides may not be there yet."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.failures import StudyError
from common.files import write_json, write_table
from common.guards.environment import call_here
from common.guards.names import checked_name
from common.settings import option
from common.slide_files import find_slides
from common.study import Study, open_study

if TYPE_CHECKING:
    from mil.metrics.bootstrap import Interval
    from mil.runs.run_store import FinishedRun
    from mil.tasks.task import Task
    from mil.training.covariates import Covariates
    from mil.training.preparation import KnownCohort
    from splits.fold_plan import FoldPlan

SCHEMA = "clinical/1"
ALL = "all together"


@dataclass(frozen=True, kw_only=True)
class ClinicalConfig:
    """The settings of clinical.py."""

    study: Path = option(Path("study"), help="study folder", group="study")
    task: str = option("subtype", help="what is predicted: subtype, survival, or a task of study.yaml", group="study")
    name: str = option(
        "", help="name of the results: clinical/NAME.csv; left out: the task, and the end point", group="study"
    )
    where: str | None = option(None, help="condition on columns that keeps a part of the cohort", group="study")
    splits: str = option("default", help="name of the folds: splits/NAME.csv", group="study")
    covariates: str | None = option(
        None, help="columns with commas; left out: every column that is no id or target", group="evaluation"
    )
    endpoint: str = option("", help="end point of survival: OS, DSS ..., or TIME/EVENT", group="survival")
    horizon: float = option(0.0, help="censor follow-up beyond this time; 0: nowhere", group="survival")
    strata: str = option("", help="a column: only patients with the same value are compared", group="survival")
    bootstrap: int = option(2000, help="patient bootstraps of the intervals", group="evaluation")
    seed: int = option(0, help="seed of the bootstrap", group="evaluation")

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.bootstrap < 100:
            raise ValueError(f"--bootstrap is a number from 100, got {self.bootstrap}")
        if self.seed < 0:
            raise ValueError(f"--seed is a number from 0, got {self.seed}")

    @property
    def own_name(self) -> str:
        """The name of the results."""
        return self.name or "_".join(filter(None, [self.task, self.endpoint.replace("/", "_")]))


@dataclass(frozen=True, kw_only=True)
class ClinicalModels:
    """The figures of each model by the covariates it has; `predictions` is the file of those of all together."""

    task: str
    n_patients: int
    n_events: int | None
    n_folds: int
    names: tuple[str, ...]  # of the metrics
    figures: dict[str, dict[str, Interval]]
    chance: dict[str, float]
    left_out: dict[str, str]  # covariates, and why
    excluded: dict[str, str]  # patients, and why
    predictions: Path


def clinical_models(
    study: Path | Study, config: ClinicalConfig, *, say: Callable[[str], None] = print
) -> ClinicalModels:
    """Fit the clinical baseline of a task in every fold, predict the test patients, and write predictions and figures.

    Args:
        study: the folder; `config.study` is not looked at.
        config: the settings.
        say: receives what is odd in the table.

    Raises:
        StudyError: the table, the folds or a setting is missing or faulty, or there is no covariate.
    """
    from mil.metrics.bootstrap import named_intervals
    from mil.runs.figure_names import ATTENTION
    from mil.tasks.targets import task_to_train
    from mil.training.preparation import known_cohort
    from mil.training.training_settings import TrainConfig

    study = open_study(study)
    checked_name(config.own_name, "--name")
    shared = {each.name for each in fields(ClinicalConfig)} & {each.name for each in fields(TrainConfig)} - {"name"}
    settings = TrainConfig(**{name: getattr(config, name) for name in sorted(shared)})
    task, settings = task_to_train(study, settings, say)
    known = known_cohort(study, settings, task.training)
    for note in known.cohort.notes:
        say(f"note: {note}")
    if not known.covariates.names:
        raise StudyError(f"{known.cohort.path}: no column is a covariate; name some with --covariates")
    plans = _plans(known)
    by_model: dict[str, dict[str, Interval]] = {}
    for words, covariates in _parts(known.covariates):  # the last, of all together, is what is written
        run = _run_of(study, config, task, known, plans, covariates)
        plan = task.evaluation.resampling_plan(run, n_bootstrap=config.bootstrap, seed=config.seed)
        samples = task.evaluation.resampled_metrics(run, ATTENTION, plan)
        by_model[words] = named_intervals(samples, task.evaluation.named)
    folder = study.root / "clinical"
    folder.mkdir(exist_ok=True)
    path = folder / f"{config.own_name}.csv"
    table = run.predictions.assign(model="clinical")
    write_table(path, list(table.columns), table.to_numpy(object).tolist())
    found = ClinicalModels(
        task=task.name, n_patients=run.facts.n_patients, n_events=run.facts.n_events if "event" in table else None,
        n_folds=len(plans), names=tuple(name for name in task.evaluation.named if name in next(iter(by_model.values()))),
        figures=by_model, chance=task.evaluation.chance(run), left_out=dict(known.covariates.left_out),
        excluded=known.excluded, predictions=path,
    )  # fmt: skip
    _write_figures(folder / f"{config.own_name}.json", found, config)
    return found


def _plans(known: KnownCohort) -> list[FoldPlan]:
    from mil.training.cross_validation import check_plans
    from splits.fold_plan import plan_folds

    usable = set(known.cohort.slides["patient_id"]) - set(known.excluded)
    known.task.check_usable(known.targets, usable, known.cohort.path)
    plans = [plan.all_to_train for plan in plan_folds(known.splits, usable)]
    check_plans(plans, known.targets, known.task)
    if not any(plan.test for plan in plans):
        raise StudyError(
            "no patient is in a test set, so nothing can be evaluated; make folds with splits/make_splits.py"
        )
    return [plan for plan in plans if plan.test]


def _parts(covariates: Covariates) -> Iterator[tuple[str, Covariates]]:
    """Yield each covariate by itself, then all."""
    for name in covariates.names:
        yield (
            name,
            replace(
                covariates,
                numeric={name: covariates.numeric[name]} if name in covariates.numeric else {},
                categorical={name: covariates.categorical[name]} if name in covariates.categorical else {},
            ),
        )
    if len(covariates.names) > 1:
        yield ALL, covariates


def _run_of(
    study: Study,
    config: ClinicalConfig,
    task: Task,
    known: KnownCohort,
    plans: Sequence[FoldPlan],
    covariates: Covariates,
) -> FinishedRun:
    """Return the test predictions of one model as the predictions of a run."""
    import pandas as pd

    from mil.runs.bare_run import bare_run
    from mil.runs.facts import SplitFacts
    from mil.runs.figure_names import ATTENTION, CLINICAL
    from mil.runs.run_folder import RunFolder
    from mil.training.covariates import fit_encoder

    rows: list[dict[str, Any]] = []
    for plan in plans:
        encode = fit_encoder(covariates, plan.train)
        inputs = {CLINICAL: (encode(covariates, plan.train), encode(covariates, plan.test))}
        rows += known.task.baseline_rows(plan, known.targets, inputs)
    table = pd.DataFrame(rows, columns=known.task.prediction_columns(known.targets))
    table = table[table["model"] == CLINICAL].assign(model=ATTENTION)  # the model that evaluation looks at
    repeats, folds = len({plan.repeat for plan in plans}), len({plan.fold for plan in plans})
    return bare_run(
        RunFolder(study.run(task.name, "clinical")), table.reset_index(drop=True), name=config.own_name, task=task.name,
        classes=tuple(known.task.classes(known.targets)), command="python mil/clinical.py", settings={},
        split=SplitFacts(name=config.splits, n_repeats=repeats, n_folds=folds),
        time_unit=known.task.counts(known.targets, sorted({row["patient_id"] for row in rows})).time_unit or known.cohort.time_unit,
    )  # fmt: skip


def _write_figures(path: Path, found: ClinicalModels, config: ClinicalConfig) -> None:
    from mil.runs.record import plain

    figures = {model: {name: plain(own) for name, own in values.items()} for model, values in found.figures.items()}
    write_json(
        path,
        {
            "schema": SCHEMA, "task": found.task, "endpoint": config.endpoint, "splits": config.splits,
            "n_patients": found.n_patients,
            "n_events": found.n_events, "n_folds": found.n_folds, "figures": figures, "chance": found.chance,
            "covariates_left_out": found.left_out, "excluded": found.excluded,
        },
    )  # fmt: skip


def clinical_table(found: ClinicalModels) -> str:
    """Return the figures as text: a row a model, the 95 % intervals over patients."""
    from mil.report.blocks import interval_text
    from mil.report.verdict import SHOWN
    from mil.runs.figure_names import NAMES, OF_TARGET

    events = "" if found.n_events is None else f" with {found.n_events} events"
    width = max(len(model) for model in found.figures) + 2
    lines = [
        f"{found.task}: {found.n_patients} test patients{events}, {found.n_folds} folds, covariates alone, out of fold"
    ]
    names = [name for name in found.names if name in found.chance and name.rpartition(OF_TARGET)[2] in SHOWN]
    lines.append(" " * width + "".join(f"{NAMES[name]:<28s}" for name in names))
    for model, figures in found.figures.items():
        cells = [interval_text(figures.get(name)) for name in names]
        lines.append(f"{model:<{width}s}" + "".join(f"{cell:<28s}" for cell in cells))
    lines.append(f"{'chance':<{width}s}" + "".join(f"{found.chance[name]:<28.3f}" for name in names))
    lines += [f"not a covariate: {name}: {why}" for name, why in found.left_out.items()]
    if found.excluded:
        lines.append(f"left out: {len(found.excluded)} patients ({'; '.join(sorted(set(found.excluded.values())))})")
    return "\n".join(line.rstrip() for line in lines)


def what_is_next(study: Path | Study) -> str:
    """Say how many of the table's slides are there, have tiles and features, and the command that comes next."""
    from common.cohort import read_cohort

    study = open_study(study)
    wanted = set(read_cohort(study.cohort_table).slides["slide_id"])
    there = set(find_slides(study.slides)) if study.slides.is_dir() else set[str]()
    tiled = {path.stem for path in study.tiles.glob("*.h5")}
    embedded = {path.stem for path in study.root.glob("features/*/*.h5")}
    n_there, n_tiled, n_embedded = (len(wanted & own) for own in (there, tiled, embedded))
    said = f"slides: {len(wanted)} in the table, {n_there} are in {study.slides}, {n_tiled} have tiles, {n_embedded} have features"
    script = (
        "mil/train.py" if n_embedded == len(wanted) else "features/extract_features.py" if n_tiled == len(wanted)
        else "preprocessing/tile_slides.py"
    )  # fmt: skip
    before = "" if n_there or n_tiled or n_embedded else f"put the slides into {study.slides}, then "
    return f"{said}\nnext: {before}{call_here(script)} --study {shlex.quote(str(study.root))}"
