"""The search of one fold: settings are drawn, a head is trained on each inner fold, and judged by those it did not see.

Nothing here sees a test patient: inner folds are parts of the fold's training patients (nested cross-validation, Varma and Simon
2006, BMC Bioinformatics 7:91). Trials are drawn by Optuna, by a tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS
24) or at random, from a seed. Each is logged as it ends; a killed search draws the same again, takes what is logged, and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.failures import StudyError
from mil.runs.record import Scalar
from mil.runs.search_record import FoldSearch, Trial, read_fold_search, write_fold_search
from mil.training.fitting import epochs_of, fit
from mil.training.held_out.inner_folds import inner_folds
from mil.training.search.space import Choice, SearchPlan
from mil.training.task import FoldInputs, TrainingTask, strata_of_training
from mil.training.training_settings import TrainConfig
from splits.fold_plan import FoldPlan

SEED = 97  # sets the search's generators apart from others of the fold
STARTUP = 5  # trials at random before the estimator has anything to go by
DIGITS = 4  # of a number that was drawn


@dataclass(frozen=True, kw_only=True)
class SearchedFold:
    """The settings chosen for a fold, and its search."""

    config: TrainConfig
    search: FoldSearch


def search_fold(
    task: TrainingTask[Any], plan: FoldPlan, fold: FoldInputs[Any], search: SearchPlan, path: Path, fingerprint: str
) -> SearchedFold:
    """Search the settings of a fold.

    Args:
        task: how to learn.
        plan: the fold; only its training patients are looked at.
        fold: its inputs, with the settings as given: these are the first trial, where the space holds them.
        search: what is searched.
        path: the log.
        fingerprint: of all that the trials depend on but their number; a log of another one is not used.

    Raises:
        StudyError: there are too few training patients for inner folds, or every trial failed.
    """
    config = fold.config
    seed = [config.seed, plan.repeat, plan.fold, SEED]
    strata = strata_of_training(task, fold.targets, plan.train)
    inner = inner_folds(plan, strata, search.n_folds, int(np.random.default_rng(seed).integers(2**31)), fold.owners)
    if not inner:
        raise StudyError("--search: too few training patients for inner folds; leave the search out")
    known = read_fold_search(path, fingerprint)
    study, trials = _Drawn(search, config, seed), list(known.trials[: search.n_trials] if known else ())
    if not study.replay(trials):
        study, trials = _Drawn(search, config, seed), []
    record = FoldSearch(
        repeat=plan.repeat,
        fold=plan.fold,
        fingerprint=fingerprint,
        n_inner_folds=len(inner),
        trials=tuple(trials),
        chosen=None,
    )
    while len(trials) < search.n_trials:
        values = study.draw()
        trials.append(_tried(task, fold, inner, values, len(trials), [*seed, len(trials)]))
        study.tell(trials[-1].loss)
        record = replace(record, trials=tuple(trials))
        write_fold_search(path, record)
    record = replace(record, trials=tuple(trials), chosen=_best(trials))
    write_fold_search(path, record)
    return SearchedFold(config=replace(config, **record.taken.values), search=record)  # type: ignore[arg-type]


def _best(trials: Sequence[Trial]) -> int:
    """Return the number of the trial with the least loss; of equal ones the first.

    Raises:
        StudyError: every trial failed.
    """
    sound = [(trial.loss, trial.number) for trial in trials if trial.loss is not None]
    if not sound:
        raise StudyError(f"--search: all {len(trials)} trials failed; the last: {trials[-1].why}")
    return min(sound)[1]


def _tried(
    task: TrainingTask[Any], fold: FoldInputs[Any], inner: Sequence[FoldPlan], values: dict[str, Scalar], number: int,
    seed: Sequence[int],
) -> Trial:  # fmt: skip
    """Train on each inner fold with some settings, and return the mean loss of the held out, by their number."""
    config = replace(fold.config, **values)  # type: ignore[arg-type]
    config = replace(config, epochs=epochs_of(task, config, len(fold.train)))  # not longer for fewer patients
    total, n_held = 0.0, 0
    for place, plan in enumerate(inner):
        try:
            fitted = fit(task, replace(fold, train=plan.train, val=(), config=config), seed=[*seed, place])
        except StudyError as error:
            return Trial(number=number, values=values, loss=None, why=f"inner fold {place}: {error}")
        loss = task.validation_loss(fitted.head, replace(fold, train=plan.train, val=plan.val, config=config))
        total, n_held = total + loss * len(plan.val), n_held + len(plan.val)
    loss = total / n_held
    if not np.isfinite(loss):
        return Trial(number=number, values=values, loss=None, why="the loss of the held out is not finite")
    return Trial(number=number, values=values, loss=loss)


class _Drawn:
    """Settings drawn one after the other by what is known of those before; the same seed and losses draw the same."""

    def __init__(self, search: SearchPlan, config: TrainConfig, seed: Sequence[int]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        own = int(np.random.default_rng([*seed, 1]).integers(2**31))
        makers: dict[str, Callable[[], Any]] = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=own, n_startup_trials=STARTUP),
            "random": lambda: optuna.samplers.RandomSampler(seed=own),
        }
        self._study = optuna.create_study(sampler=makers[search.sampler](), direction="minimize")
        self._failed = optuna.trial.TrialState.FAIL
        self._search = search
        given = {name: getattr(config, name) for name in search.space}
        if all(search.space[name].holds(value) for name, value in given.items()):
            self._study.enqueue_trial(given)
        self._open: Any = None

    def draw(self) -> dict[str, Scalar]:
        """Return the settings of the next trial."""
        self._open = self._study.ask()
        return {name: self._drawn(name) for name in self._search.space}

    def _drawn(self, name: str) -> Scalar:
        part = self._search.space[name]
        if isinstance(part, Choice):
            chosen: Scalar = self._open.suggest_categorical(name, list(part.values))
            return chosen
        if part.is_whole:
            step = 1 if part.step is None else int(part.step)
            return int(self._open.suggest_int(name, int(part.low), int(part.high), step=step, log=part.is_log))
        number = float(self._open.suggest_float(name, part.low, part.high, step=part.step, log=part.is_log))
        return min(max(float(f"{number:.{DIGITS}g}"), part.low), part.high)

    def tell(self, loss: float | None) -> None:
        """Say what came of the trial that was drawn last."""
        if loss is None:
            self._study.tell(self._open, state=self._failed)
        else:
            self._study.tell(self._open, loss)

    def replay(self, trials: Sequence[Trial]) -> bool:
        """Draw again what was tried, and say what came of it; return whether it was the same."""
        for trial in trials:
            if self.draw() != trial.values:
                return False
            self.tell(trial.loss)
        return True
