"""Records of models made by hand: classes or a hazard, with nothing trained."""

import numpy as np

from mil.models.ensemble import ClassOpinion, Ensemble, HazardOpinion
from mil.models.record import (
    Calibration,
    CohortSummary,
    EnsembleRecord,
    FamiliarityFacts,
    FoldModel,
    PredictionSets,
    SurvivalGrid,
    Worth,
)
from mil.prediction.familiar import Familiarity, SlideFamiliarity
from mil.prediction.predicting import PatientPrediction, SlideShare
from mil.runs.facts import ScaleFacts

COHORT = CohortSummary(
    n_patients=80, n_slides=120, n_tiles=9000, class_counts={}, n_events=30, is_synthetic=False, restriction="", source="",
    date="",
)  # fmt: skip
FOLDS = tuple(
    FoldModel(
        repeat=0, fold=fold, n_train=40, sha256="", head={}, scale=ScaleFacts(mean=0.5 * fold, sd=2.0, cutoffs=(0.1,))
    )
    for fold in range(2)
)


def some_record(**changes):
    """Return the record of a model of three classes."""
    known = {
        "task": "subtype", "classes": ("A", "B", "C"), "unit": "patient", "encoder": {"encoder": "e"}, "licence": "MIT",
        "tiling": None, "stain_reference": None, "folds": FOLDS, "calibration": Calibration(temperature=1.5, n_patients=70),
        "prediction_sets": PredictionSets(
            coverage=0.9, thresholds={"A": 0.5, "B": None, "C": 0.4}, n_patients={"A": 30, "B": 4, "C": 30}
        ),
        "survival": None, "cohort": COHORT,
        "familiarity": FamiliarityFacts(embedding=None, stain=None, least_tiles=10, most_tiles=900),
        "worth": {"macro_auroc": Worth(value=0.91234, low=0.8, high=0.95)}, "settings": {}, "versions": {},
    }  # fmt: skip
    return EnsembleRecord(**known | changes)


def some_model(**changes):
    """Return a model without heads."""
    return Ensemble(some_record(**changes), (), {})


def survival_model(**changes):
    """Return a model of a hazard with survival at three times."""
    known = {
        "task": "survival", "classes": (), "prediction_sets": None, "calibration": None,
        "survival": SurvivalGrid(times=(10.0, 20.0, 40.0), unit="months"), "worth": {},
    }  # fmt: skip
    return some_model(**known | changes)


def class_says(probabilities, in_set=None):
    """Return an opinion on classes."""
    shares = np.array(probabilities, float)
    return ClassOpinion(
        logits=np.log(shares), probabilities=shares, in_set=None if in_set is None else np.array(in_set, bool)
    )


def hazard_says(**changes):
    """Return an opinion on a hazard."""
    known = {
        "log_hazard": 1.23456, "score": 0.5, "group": 1, "group_name": "high risk", "survival": np.array([0.9, 0.5, 0.25]),
        "median": 20.0, "restricted_mean": 27.125,
    }  # fmt: skip
    return HazardOpinion(**known | changes)


def prediction(patient="p", *, classes=None, hazard=None, outputs=None, **changes):
    """Return a prediction of a patient of two slides, the second of which speaks most for the first output."""
    n_outputs = 1 if hazard is not None else 3
    slides = tuple(
        SlideShare(
            slide_id=f"{patient}-{number}", n_tiles=5 * number, contributions=np.arange(n_outputs) + 0.25 * number
        )
        for number in (1, 2)
    )
    known = {
        "outputs": np.arange(2.0 * n_outputs).reshape(2, n_outputs), "values": np.full(n_outputs, 2.0),
        "base": np.full(n_outputs, 0.5), "residual": np.zeros(n_outputs), "told": 0, "slides": slides,
        "familiarity": Familiarity(
            slides={
                f"{patient}-1": SlideFamiliarity(embedding=0.5, stain=None, unlike=()),
                f"{patient}-2": SlideFamiliarity(embedding=3.5, stain=2.5, unlike=("embedding", "stain")),
            },
            unlike=(), is_measured=True,
        ),
    }  # fmt: skip
    return PatientPrediction(patient_id=patient, classes=classes, hazard=hazard, **known | changes)
