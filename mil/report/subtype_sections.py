"""What the report of a subtype run has of its own: classes, calibration, prediction sets, selective prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mil.evaluation.subtype_metrics import Calibration, ClassMetrics, Conformal, Selective, SubtypeMetrics
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.report.blocks import Block, Paragraph, Section, illustration, note, number, table, with_interval
from mil.report.drawing import Picture
from mil.report.subtype_figures import draw_confusion, draw_reliability, draw_roc, draw_selective
from mil.report.task import Pictures, Wording
from mil.runs.facts import RunFacts
from mil.runs.figure_names import CALIBRATION, MODEL_NAMES, NAMES
from mil.runs.run_store import FinishedRun

CAPTIONS = {
    "confusion": "Confusion matrix, out of fold, patients. Colour: share of the true class.",
    "roc": "ROC curves, one class against the rest, out of fold, by patient.",
}


@dataclass(frozen=True, kw_only=True)
class SubtypeReport:
    """The report of class probabilities; `noun` is what a class is called: subtype, or class of another column."""

    title: str = "Subtype"
    noun: str = "subtype"

    @property
    def wording(self) -> Wording:
        """The task's words in texts that every report has."""
        return Wording(
            drawn="inside each class",
            ranked="an AUROC",
            too_few=f"Under {MIN_PATIENTS} patients, or {MIN_EVENTS} patients of a class, only shares have limits, and such a "
            "class is left out of macro averages.",
            regressions="logistic regressions",
            groups=f"The macro AUROC of a group is over the {self._nouns} it has. ",
        )

    @property
    def _nouns(self) -> str:
        return "subtypes" if self.noun == "subtype" else "classes"

    def pictures(self, run: FinishedRun, metrics: SubtypeMetrics) -> dict[str, Picture]:
        """Draw confusion, ROC, selective accuracy and reliability."""
        return {
            "confusion": draw_confusion(metrics.confusion, noun=self.noun),
            "roc": draw_roc(run),
            "selective": draw_selective(metrics.selective),
            "reliability": draw_reliability(metrics.calibration),
        }

    def outcome_counts(self, facts: RunFacts) -> Sequence[Sequence[object]]:
        """Nothing beside the classes."""
        return []

    def chance_words(self, metrics: SubtypeMetrics) -> str:
        """Return what each metric's chance is."""
        counts = {name: own.n for name, own in metrics.per_class.items()}
        largest = max(counts, key=lambda name: counts[name])
        return (
            f"Chance: accuracy and F1 of naming the largest class of the test patients each time ({largest}, {counts[largest]} "
            f"of {metrics.n_patients}); balanced accuracy of naming one class, whichever; AUROC of ranking nobody above "
            "another; Brier score, log loss and calibration error of class shares among training patients."
        )

    def discrimination_blocks(self, metrics: SubtypeMetrics, pictures: Pictures) -> list[Block]:
        """Return each class against the rest, confusion and ROC."""
        rows = [
            [name, own.n, with_interval(own.auroc), with_interval(own.average_precision)]
            for name, own in metrics.per_class.items()
        ]
        return [
            table(["class", "patients", "AUROC against the rest", "average precision"], rows),
            *(block for name, caption in CAPTIONS.items() for block in illustration(name, caption, pictures)),
        ]

    def own_sections(self, metrics: SubtypeMetrics, pictures: Pictures) -> list[Section]:
        """Return calibration, prediction sets and selective prediction."""
        classes, nouns = list(metrics.per_class), self._nouns
        sets = [] if metrics.conformal is None else [_sets(metrics.conformal, classes, self.noun, nouns)]
        return [_calibration(metrics, pictures), *sets, _selective(metrics.selective, pictures)]

    def fold_table(self, metrics: SubtypeMetrics) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
        """Return each fold's discrimination."""
        names = list(metrics.folds_tested[0].values)
        rows = [[number(value) for value in fold.values.values()] for fold in metrics.folds_tested]
        return [NAMES[name] for name in names], rows


def _calibration(metrics: SubtypeMetrics, pictures: Pictures) -> Section:
    own, scaled = metrics.calibration, metrics.calibration.calibrated
    head = [
        "metric", "as the model gives them", "temperature-scaled", *(MODEL_NAMES[model] for model in metrics.baselines),
        "class prior",
    ]  # fmt: skip
    rows = [
        [
            NAMES[name],
            with_interval(metrics.attention[name]),
            "nobody held out" if scaled is None else with_interval(scaled.calibration[name]),
            *(with_interval(other[name]) for other in metrics.baselines.values()),
            number(metrics.chance.get(name)),
        ]
        for name in CALIBRATION
    ]
    body = [
        table(head, rows),
        note(
            "Brier score: squared distance from the truth over all classes, 0 to 2. Calibration error: of the predicted class, "
            f"over {own.n_bins} bins of equal mass. Calibration slope: the common slope of a multinomial logistic regression "
            "of the truth on log probabilities with an intercept a class; 1 is right, below 1 over-confident. A class's "
            "intercept below is that with the slope held at 1: above 0, the class is predicted too rarely. Training weighs the "
            "classes alike, so probabilities lean towards rare classes."
        ),
        *illustration("reliability", "Reliability: accuracy against confidence of the predicted class.", pictures),
        *_fitted(metrics.per_class, own),
    ]
    if scaled is not None:
        body.append(
            note(
                "Temperatures are fitted on predictions of training patients held out in each fold (inner folds, or the "
                "inner validation part), held near 1 by a prior where they are few. They change no decision and no AUROC inside a "
                "fold. Fixed beforehand: discrimination is that of the unscaled probabilities; pooled over folds, the macro AUROC "
                f"of the scaled ones is {with_interval(scaled.macro_auroc)}."
            )
        )
    return Section(key="calibration", title="Calibration", items="12e, 13, 23a", body=tuple(body))


def _fitted(classes: dict[str, ClassMetrics], calibration: Calibration) -> list[Block]:
    """Return the intercept of each class and the temperature of each fold."""
    intercepts = [[name, number(own.calibration_intercept)] for name, own in classes.items()]
    temperatures = [[own.repeat, own.fold, own.n_val, number(own.temperature)] for own in calibration.temperatures]
    head = ["repeat", "fold", "patients held out", "temperature"]
    return [
        table(["class", "calibration intercept"], intercepts), *([table(head, temperatures)] if temperatures else []),
    ]  # fmt: skip


def _sets(own: Conformal, classes: Sequence[str], noun: str, nouns: str) -> Section:
    rows = [
        [
            words,
            with_interval(sets.covered),
            with_interval(sets.size),
            with_interval(sets.single),
            f"{sets.always_included} of {sets.n_thresholds}",
            *(number(value, 2) for value in sets.covered_by_class),
        ]
        for words, sets in (("a threshold a class", own.by_class), ("one threshold for all", own.common))
    ]
    head = [
        "thresholds",
        "sets with the truth",
        "mean size",
        f"share of one {noun}",
        "never ruled out",
        *(f"{name}: sets with it" for name in classes),
    ]
    wanted = f"{own.coverage_wanted:.0%}"
    words = (
        f"The {nouns} that cannot be ruled out for a patient, so that {wanted} of the sets hold the truth: in each class, "
        "or on average with one threshold. Thresholds come from training patients held out in each fold. A class with fewer "
        f"than {own.least_patients} of them in a fold stands in every set of that fold: coverage comes first, "
        "and the sets become large (counted under “never ruled out”: classes times folds). The promise takes test and "
        "held-out patients for exchangeable. Inner models have fewer patients than the model of the fold, and an inner validation "
        "part, where there is one, also chose the epoch: so the coverage found here is the one to trust."
    )
    return Section(
        key="sets", title=f"Prediction sets, {wanted} coverage", items="15, 23a", body=(table(head, rows), note(words))
    )


def _selective(own: Selective, pictures: Pictures) -> Section:
    rows = [[f"{each.coverage:.0%}", number(each.accuracy)] for each in own.at]
    words = f"Area under the curve of error against coverage: {own.area_under_risk:.3f} (0 is perfect)."
    body: tuple[Block, ...] = (
        table(["patients kept, the most certain first", "accuracy among them"], rows),
        Paragraph(words=words),
        *illustration("selective", "Accuracy among the patients kept.", pictures),
    )
    return Section(key="selective", title="Selective prediction", items="15, 23a", body=body)
