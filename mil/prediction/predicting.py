"""What a model says of each patient, with the share of each slide, how familiar it is, and what to beware of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from common.study import Study
from mil.bags.bags import Bag
from mil.explanation.contributions import contributions
from mil.models.ensemble import (
    ClassOpinion,
    Ensemble,
    HazardOpinion,
    class_opinion,
    hazard_opinion,
)
from mil.models.known_patients import KnownPatients
from mil.prediction.familiar import Familiarity, familiarity

CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class SlideShare:
    """What the tiles of one slide contributed to each output."""

    slide_id: str
    n_tiles: int
    contributions: Float64[np.ndarray, " out"]


@dataclass(frozen=True, kw_only=True)
class PatientPrediction:
    """A patient's prediction; one of the opinions is there."""

    patient_id: str
    classes: ClassOpinion | None
    hazard: HazardOpinion | None
    outputs: Float64[np.ndarray, "fold out"]  # of each head under the model's names, in its order
    values: Float64[np.ndarray, " out"]  # that contributions add up to, with `base` and `residual`
    base: Float64[np.ndarray, " out"]
    residual: Float64[np.ndarray, " out"]
    told: int  # place of the output that the shares are judged by
    slides: tuple[SlideShare, ...]
    familiarity: Familiarity
    trained: tuple[int, int] = (0, 0)  # of how many heads the patient was in the training, of how many
    unseen: ClassOpinion | HazardOpinion | None = None  # of the heads that never saw a patient of the training
    warnings: tuple[str, ...] = ()

    @property
    def main_slide(self) -> str:
        """The slide that spoke most for what is told."""
        return max(self.slides, key=lambda slide: float(slide.contributions[self.told])).slide_id


def predict_patient(
    model: Ensemble, bag: Bag, *, study: Study, known: KnownPatients, unit: str = "patient"
) -> PatientPrediction:
    """Return what a model says of one bag.

    Args:
        model: the ensemble.
        bag: features made as the model's.
        study: whose tile files tell the stains.
        known: who trained the model.
        unit: what a bag is of.
    """
    outputs = model.outputs(bag.tiles)
    parts = contributions(model.heads, bag.tiles, model.output_names, model.levels)
    sums = parts.of_slides(bag.slide_of_tile, len(bag.slide_ids))
    sizes = np.bincount(bag.slide_of_tile, minlength=len(bag.slide_ids))
    own = familiarity(model, bag, study)
    opinion = _opinion(model, outputs)
    was = known.match(bag.patient_id, bag.slide_ids)
    places = known.unseen_by(was) if was is not None else []
    trained = (len(known.trained) - len(places), len(known.trained)) if was is not None else (0, len(model.heads))
    warnings = []
    if trained[0]:
        warnings.append(
            f"this {unit} was in the training of {trained[0]} of {trained[1]} heads: the prediction is no evidence of anything"
            + ("; see what the other heads say" if places else "")
        )
    if own.unlike:
        warnings.append(f"unlike the training cohort: {'; '.join(own.unlike)}")
    return PatientPrediction(
        patient_id=bag.patient_id, classes=opinion if isinstance(opinion, ClassOpinion) else None,
        hazard=opinion if isinstance(opinion, HazardOpinion) else None, outputs=model.told(outputs),
        values=parts.values, base=parts.base,
        residual=parts.residual, told=parts.told, familiarity=own, trained=trained, warnings=tuple(warnings),
        unseen=_opinion(model, outputs, places) if places and trained[0] else None,
        slides=tuple(
            SlideShare(slide_id=slide, n_tiles=int(n), contributions=row)
            for slide, n, row in zip(bag.slide_ids, sizes, sums, strict=True)
        ),
    )  # fmt: skip


def _opinion(
    model: Ensemble, outputs: Float64[np.ndarray, "fold out"], places: Sequence[int] | None = None
) -> ClassOpinion | HazardOpinion:
    """Return what all heads say together, or some of them."""
    record = model.record
    if places is not None:
        record = replace(record, folds=tuple(record.folds[place] for place in places))
        outputs = outputs[list(places)]
    return hazard_opinion(record, outputs) if model.is_survival else class_opinion(record, outputs)


def answer_of(opinion: ClassOpinion, classes: Sequence[str]) -> str:
    """Return the one class that cannot be ruled out; with several, or none, the model cannot tell."""
    return classes[int(opinion.probabilities.argmax())] if opinion.is_told else CANNOT_TELL


def set_of(opinion: ClassOpinion, classes: Sequence[str]) -> list[str] | None:
    """Return the names of the classes that cannot be ruled out; None where nobody was held out to set limits by."""
    if opinion.in_set is None:
        return None
    return [name for name, is_in in zip(classes, opinion.in_set, strict=True) if is_in]
