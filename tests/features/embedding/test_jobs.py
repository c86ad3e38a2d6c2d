"""What becomes of a feature file when its slide cannot even begin."""

from types import SimpleNamespace

import numpy as np
import pytest

from common.failures import SlideError
from common.study import Study
from features.embedding.jobs import failed_at_once
from features.store.feature_store import FeatureBag, write_feature_bag
from preprocessing.tiling.tile_store import OtherSlideError
from tests.helpers.feature_study import MADE_BY


@pytest.fixture
def study(tmp_path):
    bag = FeatureBag(
        slide_id="s", features=np.zeros((2, 3), np.float16), coords=np.zeros((2, 2), np.int64),
        unreadable=np.empty(0, np.int64), attributes=MADE_BY,
    )  # fmt: skip
    study = Study(tmp_path)
    write_feature_bag(study.feature_file("e", "s"), bag)
    return study


def failed_of(study, error):
    ((_, status),) = failed_at_once(study, "s", [SimpleNamespace(name="e")], error)
    assert status.state == "failed"
    return study.feature_file("e", "s").exists()


def test_d1_a_slide_that_is_away_keeps_its_whole_feature_file(study):
    assert failed_of(study, SlideError("the table has this slide, but there is no such file"))


def test_d1_a_damaged_feature_file_and_one_of_another_slide_are_not_left_for_training(study):
    path = study.feature_file("e", "s")
    whole = path.read_bytes()
    assert not failed_of(study, OtherSlideError("s.tif is not the file its tiles were made from"))
    path.write_bytes(whole[: len(whole) // 2])
    assert not failed_of(study, SlideError("it has no tile file"))
