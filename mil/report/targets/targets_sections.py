"""What the report of a run with targets of its own has: each target by itself, with its patients and its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.tables.target_columns import NUMBER, ORDERED, Target
from mil.evaluation.targets.judged_targets import judged
from mil.evaluation.targets.targets_metrics import TargetMetrics, TargetsMetrics
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.report.blocks import Block, Paragraph, Section, counted, illustration, note, number, table, with_interval
from mil.report.drawing import Picture
from mil.report.subtype_figures import draw_confusion
from mil.report.targets.targets_figures import draw_scatter
from mil.report.task import Pictures, Wording
from mil.runs.facts import RunFacts
from mil.runs.figure_names import ATTENTION, NAMES
from mil.runs.run_store import FinishedRun, by_patient
from mil.runs.targets_record import Targets, columns_of

MEANT = {
    NUMBER: "Numbers were learnt by smooth L1 on values standardised by the training patients. R2 is 1 less the squared error over "
    "that of the test patients' own mean: 0 is no better than that mean, below 0 worse. Errors are in the unit of the column. A "
    "slope below 1 says that predictions are spread too far, above 1 too little.",
    ORDERED: "Ordered classes were learnt by conditional probabilities of each threshold (CORN). The class predicted is the median "
    "of the probabilities; the quadratic-weighted kappa counts an error of two steps four times one of one, 0 is chance. The "
    "ranked probability score is that of the probabilities, lower is better.",
}
SKILL = (
    "The mean skill is the mean over targets of kappa (ordered classes), R2 (numbers) or twice the macro AUROC less 1 (classes): 0 "
    "is chance, 1 perfect."
)


@dataclass(frozen=True, kw_only=True)
class TargetsReport:
    """The report of one or several targets."""

    known: Targets

    @property
    def title(self) -> str:
        """The task's name."""
        return self.known.task

    @property
    def wording(self) -> Wording:
        """The task's words in texts that every report has."""
        has_classes = any(target.kind != NUMBER for target in self.known.targets)
        events = f" or {MIN_EVENTS} on a side of every threshold or class" if has_classes else ""
        return Wording(
            drawn="inside each class" if has_classes else "from all",
            ranked="an AUROC",
            too_few=f"Under {MIN_PATIENTS} patients{events} there are no limits.",
            regressions="linear models (ridge for numbers, logistic for classes, a chain of them for ordered ones)",
            groups="",
        )

    def pictures(self, run: FinishedRun, metrics: TargetsMetrics) -> dict[str, Picture]:
        """Draw a confusion matrix, or predicted against observed numbers, for each target."""
        columns = columns_of(self.known.targets)
        predicted = [name for own in columns for name in own.predicted]
        patients = by_patient(run.predictions, ATTENTION, predicted, [own.truth for own in columns])
        drawn = {}
        for place, own in enumerate(judged(patients, columns)):
            confusion = metrics.targets[own.columns.target.column].confusion
            if confusion is not None:
                drawn[self._picture(place)] = draw_confusion(confusion, noun="class")
            elif len(own.truth):
                names = [str(patients.index[row]) for row in own.places]
                drawn[self._picture(place)] = draw_scatter(own, names)
        return drawn

    def _picture(self, place: int) -> str:
        """Return the name of a target's picture."""
        kind = "scatter" if self.known.targets[place].kind == NUMBER else "confusion"
        return kind if len(self.known.targets) == 1 else f"{kind}_{place + 1}"

    def outcome_counts(self, facts: RunFacts) -> Sequence[Sequence[object]]:
        """Return what each target was found to be."""
        return [["target", target.words] for target in self.known.targets]

    def chance_words(self, metrics: TargetsMetrics) -> str:
        """Return what chance is."""
        return (
            "Chance: kappa, correlations and R2 are 0, AUROC 0.5; errors and scores are those of the class shares, or the mean, of "
            "each fold's training patients; accuracy that of the largest class of the test patients."
        )

    def discrimination_blocks(self, metrics: TargetsMetrics, pictures: Pictures) -> list[Block]:
        """Return what the main metrics mean; the target itself, where it is the only one."""
        kinds = {target.kind for target in self.known.targets}
        words = [SKILL] if len(self.known.targets) > 1 else []
        body: list[Block] = [note(" ".join([*words, *(MEANT[kind] for kind in (ORDERED, NUMBER) if kind in kinds)]))]
        if len(self.known.targets) == 1:
            body += self._of_target(0, metrics, pictures)
        return body

    def own_sections(self, metrics: TargetsMetrics, pictures: Pictures) -> list[Section]:
        """Return a section for each of several targets."""
        if len(self.known.targets) == 1:
            return []
        return [
            Section(
                key=f"target-{place + 1}", title=f"Target {target.column}", items="7, 23a",
                body=tuple(self._of_target(place, metrics, pictures)),
            )
            for place, target in enumerate(self.known.targets)
        ]  # fmt: skip

    def _of_target(self, place: int, metrics: TargetsMetrics, pictures: Pictures) -> list[Block]:
        target = self.known.targets[place]
        own = metrics.targets[target.column]
        name = self._picture(place)
        caption = (
            "Predicted against observed, out of fold, a dot a patient."
            if target.kind == NUMBER
            else "Confusion matrix, out of fold, patients. Colour: share of the true class."
        )
        return [_patients(target, own), *_ranked(target, own), *illustration(name, caption, pictures)]

    def fold_table(self, metrics: TargetsMetrics) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        """Return each fold's main metrics."""
        names = list(metrics.folds_tested[0].values)
        rows = [[number(value) for value in fold.values.values()] for fold in metrics.folds_tested]
        return [NAMES[name] for name in names], rows


def _patients(target: Target, own: TargetMetrics) -> Paragraph:
    words = f"Target {target.words}. {counted(own.n, 'test patient')} with a value"
    words += f", {own.n_missing} without" if own.n_missing else ""
    if own.mean is not None and own.sd is not None:
        words += f"; mean {own.mean:.4g}, standard deviation {own.sd:.4g}"
    return Paragraph(words=f"{words}.")


def _ranked(target: Target, own: TargetMetrics) -> list[Block]:
    if target.kind == NUMBER:
        return []
    first = "above" if target.kind == ORDERED else "class"
    second = "AUROC against the others"
    rows = [[name, each.n, with_interval(each.auroc)] for name, each in own.ranked.items()]
    return [table([first, "patients", second], rows)]
