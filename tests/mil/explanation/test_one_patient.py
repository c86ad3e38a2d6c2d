"""What is left of one patient: a map for each slide with that slide's tiles, and what its file says of the patient."""

import numpy as np
import pytest

from mil.bags.bags import Bag
from mil.explanation.contributions import Contributions
from mil.explanation.explained import ExplainedPatient
from mil.explanation.one_patient import _known, _maps

OF_TILES = np.arange(12.0).reshape(6, 2)
PARTS = Contributions(
    names=("LMS", "UPS"), values=np.array([0.5, 2.0]), base=np.array([0.1, 0.2]), of_tiles=OF_TILES,
    attention=np.arange(6) / 15, residual=np.array([0.01, -0.02]), methods=("exact",),
)  # fmt: skip


def bag_of(*, has_coords=True):
    return Bag(
        patient_id="P", slide_ids=("a", "b", "c"), tiles=np.zeros((6, 4), np.float16),
        slide_of_tile=np.array([0, 0, 1, 0, 1, 1]),
        coords=np.arange(12).reshape(6, 2) if has_coords else np.zeros((0, 2), np.int64), coords_unit="level-0 px",
    )  # fmt: skip


def test_each_slide_has_the_rows_of_its_own_tiles_and_one_without_tiles_has_none():
    maps = _maps(bag_of(), PARTS, "UPS", {"task": "subtype"})
    assert [own.slide_id for own in maps] == ["a", "b", "c"]
    for own, rows in zip(maps, ([0, 1, 3], [2, 4, 5], []), strict=True):
        assert (own.contributions == OF_TILES[rows]).all()
        assert (own.coords == np.arange(12).reshape(6, 2)[rows]).all()
        assert own.attention == pytest.approx(np.array(rows) / 15)
        assert (own.patient_id, own.told, own.outputs, own.coords_unit) == ("P", "UPS", ("LMS", "UPS"), "level-0 px")
        assert own.known == {"task": "subtype"}
    assert sum(own.attention.sum() for own in maps) == pytest.approx(1)


def test_features_without_corners_give_maps_without():
    for own in _maps(bag_of(has_coords=False), PARTS, "LMS", {}):
        assert own.coords.shape == (0, 2)
        assert len(own.contributions) == len(own.attention)


def test_the_file_says_values_base_and_residual_of_each_output_by_its_name():
    own = ExplainedPatient(
        patient_id="P", told="UPS", told_at=1, names=PARTS.names, values=PARTS.values, base=PARTS.base,
        residual=PARTS.residual, of_slides=np.zeros((1, 2)), n_tiles=(6,), slide_ids=("a",), level=0.3,
        heads=("repeat0_fold1",), methods=("exact",), is_trained_on=False,
    )  # fmt: skip
    assert _known(own, "subtype", "0" * 64) == {
        "task": "subtype", "values": {"LMS": 0.5, "UPS": 2.0}, "base": {"LMS": 0.1, "UPS": 0.2},
        "residual": {"LMS": 0.01, "UPS": -0.02}, "level": 0.3, "heads": ["repeat0_fold1"], "methods": ["exact"],
        "model_sha256": "0" * 64,
    }  # fmt: skip
