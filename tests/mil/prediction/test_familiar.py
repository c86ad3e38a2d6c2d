"""How unlike the training cohort a patient's slides are: which slide, in what, and when it is said of the patient."""

from dataclasses import replace

import numpy as np
import pytest
from pytest import approx

from common.study import Study
from mil.bags.bags import Bag
from mil.models.ensemble import Ensemble
from mil.models.familiarity import Cloud
from mil.models.record import FamiliarityFacts, Limits
from mil.prediction import familiar
from mil.prediction.familiar import familiarity
from tests.helpers.model_records import some_record

CLOUD = Cloud(mean=np.zeros(2), scale=np.ones(2), axes=np.eye(2), variances=np.ones(2), rest=1.0)
LIMITS = Limits(slide=2.0, patient=3.0, level=0.975, n_slides=40, n_patients=30)
FACTS = FamiliarityFacts(embedding=LIMITS, stain=replace(LIMITS, patient=5.0, level=0.9), least_tiles=8, most_tiles=99)


def model(*, facts=FACTS, **clouds):
    return Ensemble(some_record(familiarity=facts), (), clouds)


def distance_of(value):
    return float(CLOUD.distances(np.array([[value, 0.0]]))[0])


def value_at(distance):
    """Return the place on the first axis that lies so far out."""
    return distance / distance_of(1.0)


def bag(*per_slide, n_tiles=4):
    """Return a bag whose slides have these means on the first axis; their tiles lie around it."""
    offsets = np.linspace(-1, 1, n_tiles)
    tiles = np.concatenate([np.stack([value + offsets, offsets], axis=1) for value in per_slide]).astype(np.float32)
    return Bag(
        patient_id="p", tiles=tiles, slide_of_tile=np.repeat(np.arange(len(per_slide)), n_tiles), coords=np.zeros((len(tiles), 2)),
        slide_ids=tuple(f"s{number}" for number in range(len(per_slide))),
    )  # fmt: skip


@pytest.fixture
def stains(monkeypatch):
    """The stain of each slide, to be filled."""
    known = {}
    monkeypatch.setattr(familiar, "stain_point_of_slide", lambda study, slide: known.get(slide))
    return known


def test_distances_are_proportional_along_an_axis():
    assert distance_of(2.0) == approx(2 * distance_of(1.0))


def test_a_slide_beyond_its_limit_is_marked_and_a_patient_beyond_the_patients(stains, tmp_path):
    own = model(embedding=CLOUD)
    found = familiarity(own, bag(value_at(2.5), value_at(1.5)), Study(tmp_path))
    assert found.slides["s0"].embedding == approx(2.5, abs=1e-5) and found.slides["s1"].embedding == approx(
        1.5, abs=1e-5
    )
    assert (found.slides["s0"].unlike, found.slides["s1"].unlike) == (("embedding",), ())
    assert found.slides["s0"].stain is None
    assert found.unlike == () and found.is_measured
    found = familiarity(own, bag(value_at(1.0), value_at(3.5)), Study(tmp_path))
    assert found.unlike == ("its tiles look otherwise (distance 3.50, 97.5% of training patients within 3.00)",)


def test_stains_have_a_limit_of_their_own_and_are_not_missed_where_nothing_is_known(stains, tmp_path):
    stains |= {"s0": np.array([value_at(4.0), 0.0]), "s1": np.array([value_at(5.5), 0.0])}
    both = model(embedding=CLOUD, stain=CLOUD)
    found = familiarity(both, bag(0.0, 0.0, 0.0), Study(tmp_path))
    assert [slide.unlike for slide in found.slides.values()] == [("stain",), ("stain",), ()]
    assert found.slides["s2"].stain is None and found.slides["s1"].stain == approx(5.5)
    assert found.unlike == ("its stains and glass are others (distance 5.50, 90.0% of training patients within 5.00)",)
    stains["s1"] = np.array([value_at(4.9), 0.0])
    assert familiarity(both, bag(0.0, 0.0), Study(tmp_path)).unlike == ()
    at_the_limit = replace(LIMITS, slide=distance_of(4.0), patient=distance_of(4.0))
    stains["s0"] = stains["s1"] = np.array([4.0, 0.0])
    found = familiarity(model(facts=replace(FACTS, stain=at_the_limit), stain=CLOUD), bag(0.0, 0.0), Study(tmp_path))
    assert found.unlike == found.slides["s0"].unlike == ()
    without = familiarity(model(embedding=CLOUD), bag(0.0, 0.0), Study(tmp_path))
    assert [slide.stain for slide in without.slides.values()] == [None, None]


def test_few_tiles_are_said_below_half_of_the_least_of_training(stains, tmp_path):
    own = model(facts=replace(FACTS, embedding=None, stain=None))
    assert not familiarity(own, bag(0.0), Study(tmp_path)).is_measured
    assert familiarity(own, bag(0.0, n_tiles=4), Study(tmp_path)).unlike == ()
    assert familiarity(own, bag(0.0, n_tiles=3), Study(tmp_path)).unlike == (
        "few tiles (3; training slides have from 8)",
    )
    assert familiarity(own, bag(0.0, 0.0, n_tiles=2), Study(tmp_path)).unlike == ()  # of the patient, not of a slide
