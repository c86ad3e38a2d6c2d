"""All folds of a run: each trained once, kept with its predictions.

A fold's record carries a fingerprint of everything it depends on, so a run that was killed goes on at the first unfinished
fold and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from common.failures import StudyError
from common.files import settings_text
from common.parallel import InThisProcess, Outcome, over_slides
from common.settings import settings_of
from mil.bags.bags import BagStore
from mil.heads.head import Head
from mil.runs.facts import FoldPatients, FoldRecord
from mil.runs.model_file import SCHEMA as MODEL_SCHEMA
from mil.runs.record import plain
from mil.runs.run_folder import RunFolder
from mil.runs.search_record import FoldSearch, Search, read_fold_search
from mil.training.baseline import baseline_inputs
from mil.training.covariates import Covariates
from mil.training.fitting import fit
from mil.training.fold_crew import FOLD_S, FoldCrew, Refusal
from mil.training.fold_store import drop_other_folds, finished_record, make_models_folder, write_fold
from mil.training.held_out.cross_fitting import CrossFitted, cross_fit
from mil.training.recipe.epoch_store import EpochStore
from mil.training.search.inner_search import search_fold
from mil.training.search.space import SearchPlan
from mil.training.task import CombinesModels, FoldInputs, RecordsTargets, TrainingTask
from mil.training.training_settings import WITHOUT_EFFECT, TrainConfig
from splits.fold_plan import FoldPlan


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """What every fold of a run works on."""

    task: TrainingTask[Any]
    targets: Any  # of the task's own kind
    bags: BagStore
    config: TrainConfig
    covariates: Covariates = field(default_factory=Covariates)
    owners: Mapping[str, str] = field(default_factory=dict)  # slide to patient, where bags are slides
    search: SearchPlan | None = None  # what is searched in every fold; None: the settings are those given

    @property
    def columns(self) -> list[str]:
        """The columns of the tables of predictions."""
        return self.task.prediction_columns(self.targets)


@dataclass(frozen=True, kw_only=True)
class TrainedFold:
    """A fold's head, what its model file says of it, and its record."""

    head: Head
    metadata: dict[str, Any]
    record: FoldRecord  # still without its fingerprint, and name and checksum of its model file


def check_plans(plans: Sequence[FoldPlan], targets: Any, task: TrainingTask[Any]) -> None:
    """Refuse folds that cannot be trained.

    Raises:
        StudyError: a fold has no training patient, or lacks what the task learns from.
    """
    for plan in plans:
        if not plan.train:
            raise StudyError(f"{plan.place} has no training patient with features and label")
        task.check_plan(targets, plan)


def run_folds(
    folder: RunFolder,
    plans: Sequence[FoldPlan],
    inputs: RunInputs,
    crew: FoldCrew | None = None,
    share: float | None = None,
) -> list[FoldRecord]:
    """Train every fold that is not finished, write its model and record, and return the records of all.

    Args:
        folder: of the run, or of a share of its training patients.
        plans: the folds.
        inputs: what every fold works on.
        crew: who trains; None: this process alone.
        share: of the training patients; None: all.

    Raises:
        StudyError: a fold cannot be trained.
    """
    make_models_folder(folder)
    crew = FoldCrew() if crew is None else crew
    records = {plan.stem: own for plan in plans if (own := _finished(folder, plan, inputs)) is not None}
    left = {_piece(share, plan): plan for plan in plans if plan.stem not in records}
    jobs = [(piece, crew.elsewhere(share, plan.stem)) if crew.elsewhere else (piece, (fold_of_run, (folder, plan, inputs)))
            for piece, plan in left.items()]  # fmt: skip
    outcomes = over_slides(
        _called, jobs, workers=crew.workers, timeout_s=FOLD_S, title=f"training {inputs.task.name}", unit="fold",
        engine=crew.engine or (None if crew.workers else InThisProcess()), sharing=crew.sharing,
    )  # fmt: skip
    for outcome in outcomes:
        plan = left[outcome.name]
        records[plan.stem] = _record_of(outcome, folder, plan, inputs)
    drop_other_folds(folder, plans, is_searched=inputs.search is not None)
    return [records[plan.stem] for plan in plans]


def fold_of_run(folder: RunFolder, plan: FoldPlan, inputs: RunInputs) -> FoldRecord:
    """Train a fold and write its model and record; one that is finished is kept.

    Raises:
        StudyError: it cannot be trained.
    """
    finished = _finished(folder, plan, inputs)  # another run may just have made it
    if finished is not None:
        return finished
    fingerprint = fold_fingerprint(plan, inputs)
    states = EpochStore(
        folder=folder.models, stem=plan.stem, fingerprint=fingerprint, every_s=inputs.config.save_seconds
    )
    trained = train_fold(plan, _with_chosen(folder, plan, inputs), states)
    record = write_fold(folder, plan, trained.head, trained.metadata, replace(trained.record, fingerprint=fingerprint))
    states.remove()
    return record


def _finished(folder: RunFolder, plan: FoldPlan, inputs: RunInputs) -> FoldRecord | None:
    record = finished_record(folder, plan, fold_fingerprint(plan, inputs))
    is_searched = inputs.search is None or finished_search(folder, plan, inputs) is not None
    return record if is_searched else None


def _piece(share: float | None, plan: FoldPlan) -> str:
    return plan.stem if share is None else f"share {share:g} {plan.stem}"


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


def _record_of(outcome: Outcome[Any], folder: RunFolder, plan: FoldPlan, inputs: RunInputs) -> FoldRecord:
    """Return what a job left of its fold.

    Raises:
        StudyError: it left none; the message says why.
    """
    value = outcome.value
    if isinstance(value, FoldRecord):
        return value
    if isinstance(value, Refusal):
        raise StudyError(value.message)
    if outcome.error is not None:
        raise StudyError(f"{plan.place}: {outcome.error}")
    record = _finished(folder, plan, inputs)
    if record is None:
        raise StudyError(
            f"{plan.place} was trained by a worker and is not what this run wants: the worker has other versions of packages, sees "
            "another study under that path, or table, splits or features were changed meanwhile: run this again"
        )
    return record


def finished_search(folder: RunFolder, plan: FoldPlan, inputs: RunInputs) -> FoldSearch | None:
    """Return the search of a fold; None where it is not done."""
    assert inputs.search is not None
    known = read_fold_search(folder.fold_search(plan.stem), _search_fingerprint(plan, inputs))
    is_done = known is not None and known.chosen is not None and len(known.trials) == inputs.search.n_trials
    return known if is_done else None


def searched(folder: RunFolder, plans: Sequence[FoldPlan], inputs: RunInputs) -> Search | None:
    """Return the searches of all folds of a run that is trained; None where nothing was searched."""
    if inputs.search is None:
        return None
    folds = [finished_search(folder, plan, inputs) for plan in plans]
    return Search(
        n_trials=inputs.search.n_trials, sampler=inputs.search.sampler, space=inputs.search.words,
        folds=tuple(own for own in folds if own is not None),
    )  # fmt: skip


def _search_fingerprint(plan: FoldPlan, inputs: RunInputs) -> str:
    """Return a checksum of all that trials depend on: the same for more of them, so that a search can be made longer."""
    assert inputs.search is not None
    return fold_fingerprint(plan, replace(inputs, search=replace(inputs.search, n_trials=0)))


def _with_chosen(folder: RunFolder, plan: FoldPlan, inputs: RunInputs) -> RunInputs:
    """Return the inputs of a fold with the settings that its own search chose."""
    if inputs.search is None:
        return inputs
    path, fingerprint = folder.fold_search(plan.stem), _search_fingerprint(plan, inputs)
    try:
        own = search_fold(inputs.task, plan, _fold_inputs(plan, inputs), inputs.search, path, fingerprint)
    except StudyError as error:
        raise StudyError(f"{plan.place}: {error}") from error
    return replace(inputs, config=own.config, search=None)


def _fold_inputs(plan: FoldPlan, inputs: RunInputs) -> FoldInputs[Any]:
    return FoldInputs(
        read=inputs.bags.read, train=plan.train, val=plan.val, targets=inputs.targets, config=inputs.config,
        owners=inputs.owners,
    )  # fmt: skip


def fold_fingerprint(plan: FoldPlan, inputs: RunInputs) -> str:
    """Return a checksum of all that a fold's training depends on."""
    everyone, covariates = [*plan.train, *plan.val, *plan.test], inputs.covariates
    known = {
        "settings": settings_of(inputs.config, without=WITHOUT_EFFECT),
        "sets": [plan.repeat, plan.fold, plan.train, plan.val, plan.test],
        "classes": inputs.task.classes(inputs.targets),
        "targets": inputs.task.known_of(inputs.targets, everyone),
        "covariates": [covariates.names, [covariates.of(patient) for patient in everyone]],
        "features": [inputs.bags.fingerprint(patient) for patient in everyone],
        "versions": _numeric_versions(),
        "model": MODEL_SCHEMA,
    }
    if inputs.search is not None:
        own = inputs.search
        known["search"] = [own.words, own.n_trials, own.n_folds, own.sampler, version("optuna")]
    return hashlib.sha256(settings_text(known).encode()).hexdigest()


def train_fold(plan: FoldPlan, inputs: RunInputs, states: EpochStore | None = None) -> TrainedFold:
    """Train one fold and its baselines, and predict its patients; `states` keeps what a killed one goes on from."""
    task, targets, bags, config = inputs.task, inputs.targets, inputs.bags, inputs.config
    fold = _fold_inputs(plan, inputs)
    try:
        fitted = fit(
            task,
            fold,
            seed=[config.seed, plan.repeat, plan.fold],
            keeper=None if states is None else states.keeper("model"),
        )
        crossed = cross_fit(task, plan, fold, task.predict_fold(fitted.head, bags.read, plan, targets), states)
    except StudyError as error:
        raise StudyError(f"{plan.place}: {error}") from error
    rows = crossed.rows
    record = FoldRecord(
        repeat=plan.repeat, fold=plan.fold, n_train=len(plan.train), n_val=len(plan.val), n_test=len(plan.test),
        stopped_by=fitted.stopped_by, best_epoch=fitted.best_epoch, n_epochs=len(fitted.history), history=fitted.history,
        untrained_loss=fitted.untrained_loss, trained_loss=fitted.trained_loss, n_inner_folds=crossed.n_inner_folds,
        model_file="", covariate_medians=inputs.covariates.medians(plan.train),
        scale=rows.scale, n_train_events=rows.n_train_events, model_sha256="", fingerprint="",
        patients=FoldPatients(train=plan.train, val=plan.val, test=plan.test),
        predictions=(*rows.predictions, *_baseline_rows(plan, inputs, crossed)), validation=tuple(rows.validation),
        training=None if rows.training is None else tuple(rows.training),
    )  # fmt: skip
    encoder = replace(bags.provenance, others={})  # what files say besides may name a patient or slide
    metadata = {
        "task": task.name, "classes": task.classes(targets), "encoder": encoder.record(), "repeat": plan.repeat,
        "fold": plan.fold, "n_train": len(plan.train), "n_val": len(plan.val), "n_test": len(plan.test),
        "scale": None if rows.scale is None else plain(rows.scale), "best_epoch": fitted.best_epoch,
        "settings": settings_of(config, without=WITHOUT_EFFECT),
    }  # fmt: skip
    if isinstance(task, RecordsTargets):
        metadata["targets"] = task.record(targets, plan.train)
    return TrainedFold(head=fitted.head, metadata=metadata, record=record)


def _baseline_rows(plan: FoldPlan, inputs: RunInputs, crossed: CrossFitted) -> list[dict[str, Any]]:
    """Return what the baselines say of the test patients, and models made of their scores and the head's."""
    if not plan.test:
        return []
    means = {patient: inputs.bags.read(patient).mean_tile for patient in (*plan.train, *plan.test)}
    own, task = baseline_inputs(plan, means, inputs.covariates), inputs.task
    rows = task.baseline_rows(plan, inputs.targets, own)
    if isinstance(task, CombinesModels):
        held_out = crossed.rows if crossed.n_inner_folds else replace(crossed.rows, validation=[])
        rows += task.combined_rows(plan, inputs.targets, held_out, rows, own)
    return rows


def _numeric_versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "numpy", "scikit-learn", "scipy")}
