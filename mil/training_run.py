"""One training run: the audit before it, its folds, its tables, its facts, and the evaluation and report made of them."""

from __future__ import annotations

import dataclasses
import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

from common.cluster.engine import engine_of
from common.cohort import read_cohort
from common.files import settings_text, write_table, write_text
from common.guards.own_files import check_own_folder, own_folder
from common.parallel import Engine
from common.running.progress import stage
from common.settings import settings_of
from common.sharing.claims import Claims
from common.study import Study, open_study
from features.exchange.folder import origin
from mil.audit.audit import audit_run, audit_text, stop_at_leaks
from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.metrics_record import NotEvaluated, RunMetrics, write_metrics
from mil.fold_job import train_elsewhere
from mil.models.making import write_model_of_run
from mil.report.report import write_report
from mil.runs.audit_record import Audit, write_audit
from mil.runs.facts import RUN_SCHEMA, CovariateFacts, Exclusion, FoldRecord, RunFacts, ShareFacts, SplitFacts
from mil.runs.record import write_sealed
from mil.runs.run_folder import RunFolder, finishing_run, run_step
from mil.runs.run_store import read_run
from mil.runs.run_tables import table_sums
from mil.runs.search_record import write_search
from mil.runs.targets_record import write_targets
from mil.tasks.targets import task_to_train
from mil.tasks.task import Task
from mil.training.cohort_flow import cohort_flow, slide_losses
from mil.training.cross_validation import run_folds, searched
from mil.training.fitting import epochs_of
from mil.training.fold_crew import FoldCrew, Refusal, workers_for
from mil.training.fold_store import read_models, write_fold_tables, write_image_predictions
from mil.training.nested_plans import drop_other_shares, train_shares
from mil.training.preparation import PreparedRun, prepare
from mil.training.recipe.tensorboard_events import check_installed, write_events
from mil.training.task import KnowsPatients
from mil.training.training_settings import OF_MACHINE, TrainConfig

PACKAGES = (
    "torch", "timm", "openvino", "openslide-python", "numpy", "scipy", "scikit-learn", "pandas", "lifelines", "h5py",
)  # fmt: skip
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A finished run: where it lies and what came of it."""

    folder: RunFolder
    metrics: RunMetrics | NotEvaluated
    audit: Audit
    usable: list[str]  # patients that took part
    excluded: dict[str, str]  # patient to reason
    is_evaluated: bool  # whether any patient was tested

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder.report


def train_study(study: Path | Study, config: TrainConfig, *, say: Say = print) -> TrainedRun:
    """Do what the script does: prepare, audit, train, evaluate out of fold and report.

    Args:
        study: the folder; `config.study` is not looked at.
        config: the settings.
        say: receives what is to be read before the training, a text at a time.

    Raises:
        StudyError: something is missing or faulty, the audit is certain of a leak, or another process writes this run with other
            settings; nothing was trained.
    """
    study = open_study(study)
    task, config = task_to_train(study, config, say)
    with training_together(study, config) as claims:
        with stage("reading features and folds"):
            prepared = prepare(study, config, task.training)
        _introduce(prepared, say)
        return _train(prepared, task, say, claims)


def audit_study(study: Path | Study, config: TrainConfig, *, say: Say = print) -> Audit:
    """Audit a run without training it."""
    study = open_study(study)
    task, config = task_to_train(study, config, say)
    prepared = prepare(study, config, task.training)
    _introduce(prepared, say)
    audit = audit_run(prepared)
    say(audit_text(audit, in_full=True))
    return audit


def _introduce(prepared: PreparedRun, say: Say) -> None:
    """Say what is odd in the clinical table, and where the features come from."""
    for note in prepared.cohort.notes:
        say(f"note: {note}")
    say(origin(prepared.bags.provenance))


def train_run(prepared: PreparedRun, task: Task, *, say: Say = print) -> TrainedRun:
    """Audit the run; unless there is a leak train every fold, evaluate out of fold and write the report.

    Raises:
        StudyError: the audit is certain of a leak, the run's folder or one in it is a link, or another process writes this
            run with other settings; nothing was trained.
    """
    with training_together(prepared.study, prepared.config) as claims:
        return _train(prepared, task, say, claims)


def training_together(study: Study, config: TrainConfig) -> Claims:
    """Return the claims on the folds of a run: trainings with the same settings share them, others are kept off."""
    settings = settings_of(config, without=(*OF_MACHINE, "memory_gb", "save_seconds"))
    step = run_step(config.task, config.name)
    return Claims(
        study.root, {step: settings_text(settings)}, what=f"train.py --task {config.task} --name {config.name}"
    )


def _train(prepared: PreparedRun, task: Task, say: Say, claims: Claims) -> TrainedRun:
    if prepared.config.tensorboard:
        check_installed()
    with stage("looking for leaks"):
        audit = audit_run(prepared)
    say(audit_text(audit, in_full=False))
    stop_at_leaks(audit)
    folder, config = prepared.folder, prepared.config
    _own_folders(folder, prepared.study.root / "runs")
    write_audit(folder, audit)
    write_targets(folder, task.targets)
    drop_other_shares(folder, prepared.shares)
    with engine_of(config) as engine:
        crew = _crew(prepared, engine, claims)
        records = run_folds(folder, prepared.plans, prepared.inputs, crew)
        curve = train_shares(folder, prepared.shares, prepared.plans, prepared.inputs, crew)
    with finishing_run(
        prepared.study, task.name, config.name
    ):  # runs that shared the folds write the same, one after the other
        return _finished(prepared, task, records, curve, audit)


def _crew(prepared: PreparedRun, engine: Engine | None, claims: Claims) -> FoldCrew:
    """Return who trains the folds; a worker reads study and features for itself."""
    config, workers = prepared.config, 0 if engine is not None else _workers(prepared)
    if engine is None and not workers:
        return FoldCrew(sharing=claims)
    run = secrets.token_hex(8)
    config = dataclasses.replace(config, scheduler=None, slurm=None, workers=0)

    def elsewhere(share: float | None, stem: str) -> tuple[Callable[..., Refusal | None], tuple[object, ...]]:
        return train_elsewhere, (prepared.study, config, run, share, stem)

    return FoldCrew(sharing=claims, workers=workers, engine=engine, elsewhere=elsewhere)


def _workers(prepared: PreparedRun) -> int:
    bags, plans = prepared.bags, prepared.plans
    return workers_for(
        prepared.inputs.config, [bags.n_tiles(patient) for patient in prepared.usable], bags.provenance.n_features or 0,
        bag_bytes=bags.file_bytes, n_folds=len(plans) * (1 + len(prepared.shares)),
        n_epochs=epochs_of(prepared.task, prepared.config, len(plans[0].train)),
    )  # fmt: skip


def _finished(
    prepared: PreparedRun, task: Task, records: Sequence[FoldRecord], curve: Sequence[ShareFacts], audit: Audit
) -> TrainedRun:
    """Write tables, evaluation, report and model of a run whose folds are trained."""
    folder, config = prepared.folder, prepared.config
    write_search(folder, searched(folder, prepared.plans, prepared.inputs))
    write_fold_tables(folder, records, prepared.inputs.columns)
    _write_patients(prepared, folder)
    models = read_models(folder, prepared.plans)
    write_image_predictions(folder, task.training.predict_images(models, prepared.bags, prepared.targets))
    write_sealed(folder.facts, _facts(prepared, records, curve), RUN_SCHEMA)
    settings = yaml.safe_dump({"train": settings_of(prepared.inputs.config, without=OF_MACHINE)}, sort_keys=False)
    write_text(folder.settings, settings)
    if config.tensorboard:
        write_events(folder.events, records, below=folder.root)
    finished = read_run(folder)
    with stage("evaluating"):
        metrics = metrics_of_run(finished, task.evaluation, n_bootstrap=config.bootstrap, seed=config.seed)
        write_metrics(folder, metrics)
        write_report(finished, metrics, task.report)
    with stage("writing the model"):
        worth = {} if isinstance(metrics, NotEvaluated) else metrics.attention
        write_model_of_run(finished, prepared.study, prepared.bags, worth)
    return TrainedRun(
        folder=folder, metrics=metrics, audit=audit, usable=prepared.usable, excluded=prepared.excluded,
        is_evaluated=prepared.is_evaluated,
    )  # fmt: skip


def _own_folders(folder: RunFolder, runs: Path) -> None:
    """Make the run's folder; refuse it, and the folders in it, where they are links.

    Raises:
        StudyError: one is; what lies behind it belongs to somebody else.
    """
    own_folder(folder.root, below=runs)
    for part in (folder.models, folder.figures, folder.learning_curve):
        check_own_folder(part, below=folder.root)


def _write_patients(prepared: PreparedRun, folder: RunFolder) -> None:
    """Write site and covariates of the patients: subgroups are evaluated from the run folder alone."""
    patients, covariates = prepared.cohort.patients, prepared.covariates
    task = prepared.task
    more = dict(task.patient_columns(prepared.cohort, prepared.targets)) if isinstance(task, KnowsPatients) else {}
    more = {name: values for name, values in more.items() if name not in ("site", *covariates.names)}
    has_site = "site" in patients.columns
    rows = []
    for patient in prepared.usable:
        values = [*([patients.loc[patient, "site"]] if has_site else []), *(own.get(patient) for own in more.values())]
        values += covariates.of(patient)
        rows.append([patient, *("" if value != value or value is None else value for value in values)])  # noqa: PLR0124
    names = [*(["site"] if has_site else []), *more, *covariates.names]
    write_table(folder.patients, ["patient_id", *names], rows)


def _facts(prepared: PreparedRun, records: Sequence[FoldRecord], curve: Sequence[ShareFacts]) -> RunFacts:
    """Return what the report says of the run, without clock times and machine names."""
    config, splits, usable, bags = prepared.config, prepared.splits, prepared.usable, prepared.bags
    counts = prepared.task.counts(prepared.targets, usable)
    losses = slide_losses(prepared.study, config.encoder, prepared.missing_slides)
    whole = prepared.table if config.where is None else read_cohort(prepared.study.cohort_table)
    excluded, covariates = sorted(prepared.excluded.items()), prepared.covariates
    sizes = [bags.n_tiles(patient) for patient in usable]
    return RunFacts(
        task=prepared.task.name, run=config.name, study=prepared.study.root.resolve().name,
        is_synthetic=prepared.study.truth.is_dir(), encoder=bags.provenance.record(), classes=tuple(prepared.classes),
        n_patients=len(usable), class_counts=dict(counts.by_class), n_events=counts.n_events,
        split=SplitFacts(
            name=config.splits, n_repeats=int(splits["repeat"].nunique()), n_folds=int(splits["fold"].nunique())
        ),
        settings=settings_of(prepared.inputs.config, without=OF_MACHINE), seed=config.seed,
        defaults=settings_of(TrainConfig().with_widths(prepared.task.hidden), without=OF_MACHINE),
        versions={name: version(name) for name in PACKAGES},
        command=_command(config), n_slides=sum(len(bags.slides_of(patient)) for patient in usable),
        n_tiles=sum(sizes), n_bags_of_one_tile=sizes.count(1),
        excluded=tuple(Exclusion(patient_id=patient, reason=reason) for patient, reason in excluded),
        slides_without_features=tuple(prepared.missing_slides), slide_losses=losses,
        covariates=CovariateFacts(used=tuple(covariates.names), left_out=dict(covariates.left_out)),
        learning_curve=tuple(curve), folds=tuple(record.facts() for record in records),
        evaluated=prepared.is_evaluated, flow=cohort_flow(whole, prepared.table, losses, prepared.excluded),
        tables=table_sums(prepared.folder, [point.share for point in curve]),
        patient_of={slide: prepared.patient_of[slide] for slide in usable} if prepared.patient_of else {},
        n_images=sum(len(bags.read(patient).images) for patient in usable),
        time_unit=prepared.cohort.time_unit if counts.time_unit is None else counts.time_unit,
        data_source=prepared.cohort.study.source, data_date=prepared.cohort.study.date,
    )  # fmt: skip


def _command(config: TrainConfig) -> str:
    """Return the command that repeats the run: every setting that is not the default."""
    words = ["python", "mil/train.py", "--task", config.task]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in ("task", *OF_MACHINE) and value != field.default:
            words += [f"--{field.name}", str(value)]
    return shlex.join(words)
