"""What heads say of a bag together, apart by slide, and what is warned of who was in the training."""

from dataclasses import replace

import numpy as np
import pytest
from pytest import approx

from common.study import Study
from mil.bags.bags import Bag
from mil.models.ensemble import class_opinion, hazard_opinion
from mil.models.known_patients import KnownPatients
from mil.prediction import predicting
from mil.prediction.familiar import Familiarity
from mil.prediction.predicting import predict_patient
from tests.helpers.model_records import some_model, survival_model
from tests.helpers.some_heads import a_bag, a_head

KNOWN = KnownPatients(
    is_known=True, patients=frozenset({"one", "both", "none"}), patient_of_slide={"x": "one"},
    trained=(frozenset({"one", "both"}), frozenset({"both"})),
)  # fmt: skip


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """Return a call that predicts a bag of 25, 25 and 10 tiles."""

    def predict(patient="new", *, n_outputs=3, slides=("s0", "s1", "s2"), unlike=(), known=KNOWN, **options):
        own = Familiarity(slides={}, unlike=tuple(unlike), is_measured=True)
        monkeypatch.setattr(predicting, "familiarity", lambda *_: own)
        model = some_model() if n_outputs > 1 else survival_model()
        model = replace(model, heads=tuple(a_head("gated_attention", n_outputs, seed) for seed in (0, 1)))
        bag = Bag(
            patient_id=patient, slide_ids=slides, tiles=a_bag(), slide_of_tile=(np.arange(60) // 25).astype(np.int64),
            coords=np.zeros((60, 2), np.int64),
        )  # fmt: skip
        return predict_patient(model, bag, study=Study(tmp_path), known=known, **options), model

    return predict


@pytest.mark.parametrize("n_outputs", [3, 1])
def test_shares_of_slides_and_the_base_add_up_to_what_is_told(predicted, n_outputs):
    own, model = predicted(n_outputs=n_outputs)
    outputs = model.outputs(a_bag())
    assert own.outputs == approx(outputs)
    assert (own.classes is None, own.hazard is None) == (n_outputs == 1, n_outputs > 1)
    assert [(slide.slide_id, slide.n_tiles) for slide in own.slides] == [("s0", 25), ("s1", 25), ("s2", 10)]
    assert sum(slide.contributions for slide in own.slides) + own.base + own.residual == approx(own.values, abs=1e-9)
    if n_outputs > 1:
        assert own.classes.probabilities == approx(class_opinion(model.record, outputs).probabilities)
        assert own.told == int(own.values.argmax())
    else:
        assert (
            own.hazard.log_hazard
            == approx(hazard_opinion(model.record, outputs).log_hazard)
            == approx(own.values[0], abs=1e-5)
        )
    most = max(own.slides, key=lambda slide: slide.contributions[own.told])
    assert own.main_slide == most.slide_id
    assert own.warnings == () and own.unseen is None and own.trained == (0, 2)


@pytest.mark.parametrize(
    ("patient", "slides", "trained", "is_unseen"),
    [
        ("one", ("s0", "s1", "s2"), (1, 2), True),
        ("new", ("s0", "x", "s2"), (1, 2), True),  # known by its slide
        ("both", ("s0", "s1", "s2"), (2, 2), False),
        ("none", ("s0", "s1", "s2"), (0, 2), False),
    ],
)
def test_who_was_in_the_training_is_told_with_what_the_other_heads_say(predicted, patient, slides, trained, is_unseen):
    own, model = predicted(patient, slides=slides, unit="slide")
    assert own.trained == trained
    assert (own.unseen is not None) == is_unseen
    if is_unseen:
        alone = class_opinion(replace(model.record, folds=model.record.folds[1:]), model.outputs(a_bag())[1:])
        assert own.unseen.probabilities == approx(alone.probabilities)
    if trained[0]:
        (warning,) = own.warnings
        assert warning.startswith(f"this slide was in the training of {trained[0]} of 2 heads")
        assert ("see what the other heads say" in warning) == is_unseen
    else:
        assert own.warnings == ()


def test_what_is_unlike_the_training_is_warned_of(predicted):
    own, _ = predicted(unlike=("its stain", "its tissue"))
    assert own.warnings == ("unlike the training cohort: its stain; its tissue",)
    own, _ = predicted("both", unlike=("its stain",))
    assert len(own.warnings) == 2
