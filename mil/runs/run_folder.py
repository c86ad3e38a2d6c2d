"""The paths inside the folder of one training run: file names stand here (a fold's stem is `FoldPlan.stem`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from common.guards.names import checked_name
from common.guards.one_at_a_time import alone
from common.sharing.claims import Claims
from common.study import Study


@dataclass(frozen=True)
class RunFolder:
    """The paths inside a run folder, or inside the folder of one share of its learning curve."""

    root: Path

    @property
    def name(self) -> str:
        """The name of the run."""
        return self.root.name

    @property
    def models(self) -> Path:
        """The folder of model files and fold records."""
        return self.root / "models"

    def model_file(self, stem: str) -> Path:
        """The model of a fold."""
        return self.models / f"{stem}.safetensors"

    def fold_record(self, stem: str) -> Path:
        """The record of a fold: written last, so a fold with a record is finished."""
        return self.models / f"{stem}.json"

    def fold_search(self, stem: str) -> Path:
        """The trials of a fold's search, logged as they end."""
        return self.models / f"{stem}_search.json"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard events."""
        return self.root / "tensorboard"

    @property
    def search(self) -> Path:
        """The searches of all folds."""
        return self.root / "search.json"

    @property
    def search_table(self) -> Path:
        """The trials of all folds as a table."""
        return self.root / "search.csv"

    @property
    def facts(self) -> Path:
        """What the report says of the run."""
        return self.root / "run.json"

    @property
    def targets(self) -> Path:
        """What the run predicts, where that is not the subtype or survival."""
        return self.root / "task.json"

    @property
    def settings(self) -> Path:
        """The settings of the training."""
        return self.root / "settings.yaml"

    @property
    def model(self) -> Path:
        """The model of all folds: one file that predicts, to be given away."""
        return self.root / "model.safetensors"

    @property
    def explanation(self) -> Path:
        """The folder of maps: what each tile contributed."""
        return self.root / "explanation"

    @property
    def predictions(self) -> Path:
        """Out-of-fold predictions, a row a patient, model and repeat."""
        return self.root / "predictions.csv"

    @property
    def validation(self) -> Path:
        """Predictions of training patients by models that never saw them."""
        return self.root / "validation_predictions.csv"

    @property
    def follow_up(self) -> Path:
        """Risk and follow-up of each fold's training patients, the risk out of fold where inner folds were made."""
        return self.root / "training_follow_up.csv"

    @property
    def image_predictions(self) -> Path:
        """Predictions by image, of tile tables alone."""
        return self.root / "predictions_tiles.csv"

    @property
    def patients(self) -> Path:
        """Site and covariates of the patients."""
        return self.root / "patients.csv"

    @property
    def audit(self) -> Path:
        """The leak audit."""
        return self.root / "audit.json"

    @property
    def metrics(self) -> Path:
        """Every metric of the run."""
        return self.root / "metrics.json"

    @property
    def comparison(self) -> Path:
        """The last comparison with another run."""
        return self.root / "comparison.json"

    @property
    def heads(self) -> Path:
        """The comparison of several heads on the same folds."""
        return self.root / "heads.json"

    @property
    def report(self) -> Path:
        """The report."""
        return self.root / "report.html"

    @property
    def figures(self) -> Path:
        """The folder of pictures and the tables behind them."""
        return self.root / "figures"

    def picture(self, name: str) -> Path:
        """A picture of the report."""
        return self.figures / f"{name}.svg"

    def picture_table(self, name: str) -> Path:
        """The numbers behind a picture."""
        return self.figures / f"{name}.csv"

    @property
    def learning_curve(self) -> Path:
        """The folder of the runs on shares of the training patients."""
        return self.root / "learning_curve"

    def share(self, share: float) -> RunFolder:
        """The run on a share of the training patients."""
        return RunFolder(self.learning_curve / f"{share:g}")

    def beside(self, name: str) -> RunFolder:
        """Another run of the same task.

        Raises:
            StudyError: its name would leave the folder of runs.
        """
        return RunFolder(self.root.parent / checked_name(name, "the name of a run (--against)"))

    def predictions_sha256(self) -> str | None:
        """Return what tells whether the run was trained anew since a comparison was made; None without predictions."""
        return hashlib.sha256(self.predictions.read_bytes()).hexdigest() if self.predictions.is_file() else None


def run_step(task: str, name: str) -> str:
    """Return what is made where a run is written, the same for trainings and evaluations of it."""
    return f"run {task} {name}"


@contextmanager
def writing_run(study: Study, task: str, name: str, *, script: str) -> Iterator[None]:
    """Keep trainings and other evaluations off a run while this one writes it; other runs are not kept off.

    Raises:
        StudyError: the name is none, or another process writes this run.
    """
    step = run_step(task, RunFolder(study.run(task, name)).name)
    what = f"{script} --task {task} --name {name}"
    with Claims(study.root, {step: script}, what=what), alone(study.root, step, what=what):
        yield


def finishing_run(study: Study, task: str, name: str) -> AbstractContextManager[None]:
    """Wait until no other training writes the tables of a run, and keep others off it; its folds are trained.

    Raises:
        StudyError: the name is none.
    """
    step = run_step(task, RunFolder(study.run(task, name)).name)
    return alone(study.root, step, what=f"train.py --task {task} --name {name}", waits=True)


def evaluated_runs(study: Study) -> list[tuple[str, RunFolder]]:
    """Return the task and the folder of every run of a study that has metrics, sorted."""
    paths = sorted((study.root / "runs").glob("*/*/metrics.json"))
    return [(path.parent.parent.name, RunFolder(path.parent)) for path in paths]
