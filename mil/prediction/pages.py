"""The pages of predictions: one that lists the patients, and one of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.failures import SlideStatus
from mil.models.ensemble import ClassOpinion, Ensemble, HazardOpinion
from mil.pages.page import Block, Drawing, Link, Listing, Page, Part, Words, cells, shown
from mil.prediction.predicting import PatientPrediction, answer_of, set_of

Truth = Mapping[str, Mapping[str, Any]]
NOT_OF_USE = "An answer holds for patients like those the model was trained on. It does not know what it was not shown."


def index_page(
    model: Ensemble, predictions: Sequence[PatientPrediction], names: Mapping[str, str], *, failed: Sequence[SlideStatus],
    notes: Sequence[str], truth: Truth, has_evaluation: bool,
) -> Page:  # fmt: skip
    """Return the page that lists all patients.

    Args:
        model: that predicted.
        predictions: of all patients.
        names: patient to the file of its page.
        failed: slides in no prediction.
        notes: what is to be known of all.
        truth: labels, where there are any.
        has_evaluation: whether an evaluation lies beside.
    """
    record, unit = model.record, model.record.unit
    known = sorted({name for row in truth.values() for name in row})
    head = (unit, *_head(model), *(f"true {name}" for name in known), "slides", "tiles", "beware")
    rows = []
    for own in predictions:
        label = Link(words=own.patient_id, place=("patients", names[own.patient_id]))
        opinion = own.classes or own.hazard
        assert opinion is not None, "a model says something"
        row = truth.get(own.patient_id, {})
        n_tiles = sum(slide.n_tiles for slide in own.slides)
        rows.append(
            cells([label, *_cells(model, opinion), *(row.get(name, "") for name in known), len(own.slides), n_tiles,
                   " ".join(own.warnings) or "nothing found"])
        )  # fmt: skip
    marked = frozenset(place for place, own in enumerate(predictions) if own.warnings)
    blocks: list[Block] = [
        Listing(
            caption=f"{len(rows)} {unit}s; marked: something to beware of", head=head, rows=tuple(rows), marked=marked
        )
    ]
    if has_evaluation:
        link = Link(words="evaluation of these predictions", place=("evaluation", "report.html"))
        blocks.append(Listing(caption="Labels are known", head=("page",), rows=((link,),)))
    parts = [Part(title="Predictions", blocks=tuple(blocks))]
    if failed:
        lost = tuple(cells([s.slide_id, s.step, s.reason, s.remedy]) for s in failed)
        listing = Listing(caption="Slides in no prediction", head=("slide", "step", "reason", "what to do"), rows=lost)
        parts.append(Part(title="Not predicted", blocks=(listing,)))
    parts.append(_of_model(model, notes))
    n_told = sum(own.classes is not None and own.classes.is_told for own in predictions)
    lead = f"{len(predictions)} {unit}s predicted by a model of the task {record.task}."
    if record.classes:
        lead += f" It tells the class of {n_told}, and cannot tell that of the other {len(predictions) - n_told}."
    return Page(
        title=f"Predictions: {record.task}", lead=f"{lead} {NOT_OF_USE}", parts=tuple(parts),
        is_by_synthetic_model=record.cohort.is_synthetic,
    )  # fmt: skip


def patient_page(model: Ensemble, own: PatientPrediction, truth: Mapping[str, Any]) -> Page:
    """Return the page of one patient."""
    record, opinion = model.record, own.classes or own.hazard
    assert opinion is not None, "a model says something"
    said: list[Block] = [_opinion(model, opinion, "What all heads say together")]
    if isinstance(opinion, HazardOpinion) and len(opinion.survival) and record.survival is not None:
        said.append(_curve(record.survival.times, opinion.survival, record.survival.unit))
    if own.unseen is not None:
        n_unseen = own.trained[1] - own.trained[0]
        said.append(_opinion(model, own.unseen, f"What {n_unseen} head(s) say that never saw this {record.unit}"))
    if truth:
        said.append(
            Listing(caption="Known", head=("label", "value"), rows=tuple(cells([*item]) for item in truth.items()))
        )
    return Page(
        title=f"{record.unit.capitalize()} {own.patient_id}", lead=_lead(model, own), warnings=own.warnings,
        back=Link(words="all predictions", place=("..", "index.html")), is_by_synthetic_model=record.cohort.is_synthetic,
        parts=(
            Part(title="Prediction", blocks=tuple(said)), Part(title="Slides", blocks=_slides(model, own)),
            Part(title="Heads", blocks=(_heads(model, own),)), _of_model(model, ()),
        ),
    )  # fmt: skip


def _lead(model: Ensemble, own: PatientPrediction) -> str:
    if own.classes is not None:
        answer, classes = answer_of(own.classes, model.record.classes), model.record.classes
        best = int(own.classes.probabilities.argmax())
        among = set_of(own.classes, classes)
        left = "no limits are known" if among is None else f"not ruled out: {', '.join(among) or 'none of them'}"
        return f"Answer: {answer}. Likeliest: {classes[best]} ({own.classes.probabilities[best]:.1%}); {left}."
    assert own.hazard is not None
    return (
        f"Risk group: {own.hazard.group_name}. {_risk_words(model).capitalize()} {own.hazard.log_hazard:.3f} beside the mean of "
        f"the training patients ({own.hazard.score:+.2f} of their standard deviations).{_times(model, own.hazard)}"
    )


def _times(model: Ensemble, hazard: HazardOpinion) -> str:
    """Return median and mean survival in words; nothing where the model has no times."""
    grid = model.record.survival
    if grid is None or hazard.restricted_mean is None:
        return ""
    unit, last = f" {grid.unit}" if grid.unit else "", f"{grid.times[-1]:.3g}"
    median = f"beyond {last}{unit}" if hazard.median is None else f"{hazard.median:.3g}{unit}"
    return f" Predicted median survival: {median}; mean time until {last}{unit}: {hazard.restricted_mean:.3g}{unit}."


def _head(model: Ensemble) -> tuple[str, ...]:
    if model.record.classes:
        return ("answer", *(f"p {name}" for name in model.record.classes), "not ruled out")
    return "risk group", _risk_words(model), "score"


def _risk_words(model: Ensemble) -> str:
    """Return what `log_hazard` is of this model."""
    return "log mean cumulative hazard" if model.has_intervals else "log-hazard"


def _cells(model: Ensemble, opinion: ClassOpinion | HazardOpinion) -> list[object]:
    if isinstance(opinion, HazardOpinion):
        return [opinion.group_name, opinion.log_hazard, opinion.score]
    classes = model.record.classes
    among = set_of(opinion, classes)
    left = "not known" if among is None else ", ".join(among) or "none of them"
    return [answer_of(opinion, classes), *(float(p) for p in opinion.probabilities), left]


def _opinion(model: Ensemble, opinion: ClassOpinion | HazardOpinion, caption: str) -> Listing:
    return Listing(caption=caption, head=_head(model), rows=(cells(_cells(model, opinion)),))


def _slides(model: Ensemble, own: PatientPrediction) -> tuple[Block, ...]:
    names = model.output_names
    head = (
        "slide",
        "tiles",
        *(f"contribution to {name}" for name in names),
        "tile distance",
        "stain distance",
        "unlike",
    )
    rows, marked = [], set()
    for place, slide in enumerate(own.slides):
        known = own.familiarity.slides[slide.slide_id]
        values = [float(value) for value in slide.contributions]
        rows.append(
            cells([slide.slide_id, slide.n_tiles, *values, known.embedding, known.stain, ", ".join(known.unlike)])
        )
        if slide.slide_id == own.main_slide:
            marked.add(place)
    told = names[own.told]
    sums = " ".join(
        f"{name}: {own.base[place]:+.4f} (a bag of average training tiles) and {own.values[place] - own.base[place]:+.4f} "
        f"(the slides) make {own.values[place]:+.4f}"
        + (f", of which {own.residual[place]:+.4f} is no tile's." if abs(own.residual[place]) > 1e-6 else ".")
        for place, name in enumerate(names)
    )
    listing = Listing(
        caption=f"Marked: the slide that speaks most for {told}", head=head, rows=tuple(rows), marked=frozenset(marked)
    )
    return listing, Words(words=sums, kind="note")


def _heads(model: Ensemble, own: PatientPrediction) -> Listing:
    rows = tuple(
        cells([f"repeat {fold.repeat}, fold {fold.fold}", *(float(value) for value in row)])
        for fold, row in zip(model.record.folds, own.outputs, strict=True)
    )
    return Listing(caption="The outputs of each head, as they are", head=("head", *model.output_names), rows=rows)


def _of_model(model: Ensemble, notes: Sequence[str]) -> Part:
    record = model.record
    worth = ", ".join(f"{name} {shown(own.value)}" for name, own in record.worth.items()) or "not evaluated"
    rows = [
        ("task", record.task), ("trained on", f"{record.cohort.n_patients} {record.unit}s, {record.cohort.n_slides} slides"),
        ("of whom", record.cohort.restriction or "all of the table"), ("heads", len(record.folds)),
        ("worth out of fold", worth), ("encoder", record.encoder.get("encoder", "")), ("its licence", record.licence),
        ("calibrated on", f"{record.calibration.n_patients if record.calibration else 0} {record.unit}s out of fold"),
    ]  # fmt: skip
    if record.prediction_sets is not None:
        few = [name for name, limit in record.prediction_sets.thresholds.items() if limit is None]
        rows.append(("coverage wanted", f"{record.prediction_sets.coverage:.0%} of each class"))
        if few:
            rows.append(("never ruled out, for too few patients", ", ".join(few)))
    listing = Listing(caption="The model", head=("", ""), rows=tuple(cells([*row]) for row in rows))
    return Part(title="Model", blocks=(listing, *(Words(words=words, kind="note") for words in notes)))


def _curve(times: Sequence[float], survival: np.ndarray, unit: str) -> Drawing:
    """Return S(t) as a line, drawn as SVG by hand: a page a patient must be light."""
    width, height, left, low = 460, 200, 46, 28
    last = max(times) or 1.0
    points = [(0.0, 1.0), *zip(times, (float(value) for value in survival), strict=True)]
    line = " ".join(
        f"{left + (width - left - 12) * t / last:.1f},{12 + (height - low - 12) * (1 - s):.1f}" for t, s in points
    )
    marks = "".join(
        f"<text x='{left - 6}' y='{16 + (height - low - 12) * (1 - s):.1f}' text-anchor='end'>{s:g}</text>"
        f"<line x1='{left}' x2='{width - 12}' y1='{12 + (height - low - 12) * (1 - s):.1f}' "
        f"y2='{12 + (height - low - 12) * (1 - s):.1f}' stroke='#e3e7ec'/>"
        for s in (0.0, 0.5, 1.0)
    )
    marks += "".join(
        f"<text x='{left + (width - left - 12) * share:.1f}' y='{height - 8}' text-anchor='middle'>{last * share:.3g}</text>"
        for share in (0.0, 0.5, 1.0)
    )
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' "
        f"aria-label='predicted survival over time' font-size='12' font-family='system-ui, sans-serif' fill='#46505e'>{marks}"
        f"<polyline points='{line}' fill='none' stroke='#2f56b8' stroke-width='2'/></svg>"
    )
    caption = f"Predicted survival over time{f' ({unit})' if unit else ''}: the mean over the heads; no interval is known for it"
    return Drawing(svg=svg, caption=caption)
