"""A study's steps in order: what is done is left alone, what is missing is made, and the figures of all runs end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from common.calling.calls import as_called, command_here
from common.cohort import read_cohort
from common.failures import EXIT_DONE, EXIT_INTERRUPTED, EXIT_SOME_FAILED, EXIT_WRONG_USE, StudyError, wrapped_lines
from common.guards.one_at_a_time import alone
from common.settings import SETTINGS_FILE
from common.study import Study, open_study
from mil.runs.run_folder import evaluated_runs
from preprocessing.checks.slide_checks import cohort_findings
from sarcoma_mil.beginning.sample_table import is_examples
from sarcoma_mil.whole.run_settings import RunConfig
from sarcoma_mil.whole.step_calls import call_step
from sarcoma_mil.whole.step_stamps import Stamp, digest_of, read_stamp, stamp_file, write_stamp
from sarcoma_mil.whole.study_steps import (
    StudySettings,
    StudyStep,
    embedding_step,
    explaining_step,
    has_slides,
    run_folder,
    splits_step,
    study_settings,
    tiling_step,
    training_step,
)
from sarcoma_mil.whole.table_tasks import table_tasks

WENT_ON = (EXIT_DONE, EXIT_SOME_FAILED)
Say = Callable[[str], None]


@dataclass
class WholeRun:
    """A run over all steps: how each ended."""

    own: StudySettings
    config: RunConfig
    say: Say
    call: Callable[..., int] = call_step
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def study(self) -> Study:
        """The study."""
        return self.own.study

    @property
    def exit_code(self) -> int:
        """The worst of the steps' exit codes; one that was killed or crashed counts as one that refused."""
        return max((code if code in WENT_ON else EXIT_WRONG_USE for code in self.codes.values()), default=EXIT_DONE)

    def run(self) -> int:
        """Do every step, and stop at the first that leaves nothing to go on with."""
        why = self._steps()
        if why:
            self.say("\n" + "\n".join(wrapped_lines(f"stopped: {why}")).lstrip())
        self._results()
        return self.exit_code

    def _steps(self) -> str:
        """Do the steps; returns why there is nothing to go on with, "" where all were done."""
        for make, files, what in (
            (tiling_step, self.study.tiles, "no slide has tiles"),
            (embedding_step, self.own.features, "no slide has features"),
        ):
            code = self.do(make)
            if code not in WENT_ON:
                return f"{make(self.own).title} ended with exit code {code}, as it says above"
            if not make(self.own).why_not and not any(files.glob("*.h5")):
                return what
        if (code := self.do(splits_step)) not in WENT_ON:
            return (
                f"no folds were made, as splits says above. Its settings stand under make_splits in {self._settings}. Too few "
                "patients to evaluate anything can train a model all the same: a column set in the table, with train in each row"
            )
        for task in table_tasks(self.study, self.own.train, self.config.wanted):
            code = self.do(lambda own, task=task: training_step(own, task))  # type: ignore[misc]
            is_trained = not task.why_not and code in WENT_ON and run_folder(self.own, task).model.is_file()
            if is_trained and self.config.explain:
                self.do(lambda own, task=task: explaining_step(own, task))  # type: ignore[misc]
        return ""

    def do(self, make: Callable[[StudySettings], StudyStep]) -> int:
        """Do a step, unless it is done or left out, and return its exit code."""
        step = make(self.own)
        if step.why_not:
            self.say(f"{step.title}: left out, {step.why_not}")
            return EXIT_DONE
        before = self.reads(step)
        known = done_before(self.own, step, before)
        if known is not None and not (known and self.config.retry):
            self.say(f"{step.title}: {DONE_WORDS[known]}")
            self.codes[step.name] = known
            return known
        code = self.call(step.word, step.flags)
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        self.codes[step.name] = code
        after = make(self.own)
        path = stamp_file(self.study.root, step.name)
        if code in WENT_ON and self.reads(after) == before:  # else somebody changed a file meanwhile
            write_stamp(path, step.name, Stamp(code, before, left_of(self.own, after)))
        else:
            path.unlink(missing_ok=True)
        return code

    def reads(self, step: StudyStep) -> str:
        """Return a digest of all that decides a step's result."""
        return reads_of(self.own, step)

    @property
    def _settings(self) -> str:
        return str(self.study.root / SETTINGS_FILE)

    def _results(self) -> None:
        if evaluated_runs(self.study):
            self.call("results", ("--study", str(self.study.root)))
        elif self.study.contact_sheet.is_file():
            self.say(f"the slides' previews, to look through: {self.study.contact_sheet}")
        if has_slides(self.study):
            self.say(f"look at slides and maps in a browser: {command_here()} serve --study {self.study.root}")


DONE_WORDS = {
    EXIT_DONE: "done before, and nothing changed since",
    EXIT_SOME_FAILED: "done before but for slides that failed, and nothing changed since (--retry true tries them again)",
}


def reads_of(own: StudySettings, step: StudyStep) -> str:
    """Return a digest of all that decides a step's result; folds that are dealt outlast a version of the program."""
    settings = (step.word, step.flags[2:], step.settings)
    return digest_of(step.reads, *settings, root=own.study.root, with_code=step.word != "splits")


def left_of(own: StudySettings, step: StudyStep) -> str:
    """Return a digest of what a step left."""
    return digest_of(step.leaves, root=own.study.root, with_code=False)


def done_before(own: StudySettings, step: StudyStep, reads: str | None = None) -> int | None:
    """Return how a step ended that is done and need not be started; None where it is due."""
    stamp = read_stamp(stamp_file(own.study.root, step.name))
    is_there = all(path.exists() for path in step.is_there)
    if stamp is None:
        return EXIT_DONE if step.is_of_owner and is_there else None
    is_same = stamp.reads == (reads_of(own, step) if reads is None else reads) and stamp.leaves == left_of(own, step)
    return stamp.exit_code if is_there and is_same and stamp.exit_code in WENT_ON else None


def warn_of_folds(own: StudySettings, say: Say) -> None:
    """Say before hours of work what the folds will stumble over, unless they are there already."""
    if own.study.splits_file(own.splits.name).is_file():
        return
    patients = read_cohort(own.table, where=own.splits.where).patients
    findings = cohort_findings(patients, n_folds=own.splits.folds)
    for finding in findings:
        say("\n".join(wrapped_lines(f"note: {finding.where}: {finding.found}; {as_called(finding.remedy)}")).lstrip())
    if findings:
        say(
            f"      (folds, stratify, where ... of the folds stand under make_splits in {own.study.root / SETTINGS_FILE})"
        )


def run_study(config: RunConfig, *, say: Say = print) -> int:
    """Make all of a study that is missing, and return the worst exit code of its steps.

    Raises:
        StudyError: the study, its table or its settings have a fault, or another run is at work on it.
    """
    study = open_study(config.study)
    own = study_settings(study)
    if is_examples(study.cohort_table):
        raise StudyError(
            f"{study.cohort_table} still holds the examples of init; write your patients and slides instead (init again lists "
            "the slides that are there)"
        )
    if own.extraction.tiles is None:
        table_tasks(study, own.train, config.wanted)  # the table's faults come before hours of work
        warn_of_folds(own, say)
    with alone(study.root, "the whole run", what="run"):
        return WholeRun(own, config, say).run()
