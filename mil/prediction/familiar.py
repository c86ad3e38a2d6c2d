"""How unlike the training cohort a patient's slides are, and why: distances and their limits stand in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from common.study import Study
from mil.bags.bags import Bag
from mil.models.ensemble import Ensemble, mean_embeddings
from mil.models.making import stain_point_of_slide


@dataclass(frozen=True, kw_only=True, slots=True)
class SlideFamiliarity:
    """A slide beside the training slides. Distances are about 1 inside the cohort; None where nothing is known of it."""

    embedding: float | None  # of the mean tile
    stain: float | None
    unlike: tuple[str, ...]  # in what it is unlike them; empty: familiar


@dataclass(frozen=True, kw_only=True, slots=True)
class Familiarity:
    """A patient beside those of the training: the slides by id, in what one is further out than the patients' furthest slides."""

    slides: Mapping[str, SlideFamiliarity]
    unlike: tuple[str, ...]
    is_measured: bool


def familiarity(model: Ensemble, bag: Bag, study: Study) -> Familiarity:
    """Return how familiar a patient is.

    Args:
        model: with the clouds of its training slides.
        bag: the patient's.
        study: whose tile files tell the stains; without them nothing is said of stains.
    """
    facts, slides = model.record.familiarity, {}
    means = mean_embeddings(bag.tiles, bag.slide_of_tile, len(bag.slide_ids))
    stains = [stain_point_of_slide(study, slide) for slide in bag.slide_ids]
    furthest: dict[str, list[float]] = {"embedding": [], "stain": []}
    for place, slide in enumerate(bag.slide_ids):
        found = {
            "embedding": _distance(model, "embedding", means[place]),
            "stain": _distance(model, "stain", stains[place]),
        }
        unlike = []
        for kind, distance in found.items():
            limits = getattr(facts, kind)
            if distance is not None:
                furthest[kind].append(distance)
                if distance > limits.slide:
                    unlike.append(kind)
        slides[slide] = SlideFamiliarity(**found, unlike=tuple(unlike))
    far = [
        f"{WORDS[kind]} (distance {max(own):.2f}, {getattr(facts, kind).level:.1%} of training patients within "
        f"{getattr(facts, kind).patient:.2f})"
        for kind, own in furthest.items()
        if own and max(own) > getattr(facts, kind).patient
    ]
    n = len(bag.tiles)
    far += [f"few tiles ({n}; training slides have from {facts.least_tiles})"] if n < facts.least_tiles / 2 else []
    return Familiarity(slides=slides, unlike=tuple(far), is_measured=bool(furthest["embedding"]))


WORDS = {"embedding": "its tiles look otherwise", "stain": "its stains and glass are others"}


def _distance(model: Ensemble, kind: str, point: Float64[np.ndarray, " dim"] | None) -> float | None:
    if point is None or kind not in model.clouds:
        return None
    return float(model.clouds[kind].distances(point[None])[0])
