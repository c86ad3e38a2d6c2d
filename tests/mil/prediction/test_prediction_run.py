"""Which model predicts, and what must be given: found out before anything is read or written."""

from types import SimpleNamespace

import pytest

from common.failures import StudyError
from mil.prediction import prediction_run
from mil.prediction.prediction_run import _has_addresses, model_file, predict_slides
from mil.prediction.settings import PredictConfig


def test_the_model_is_the_named_file_or_that_of_the_run(tmp_path):
    (tmp_path / "cohort.csv").write_text("patient_id,slide_id\nP,S\n")
    named = PredictConfig(study=tmp_path / "gone", model=tmp_path / "m.safetensors")
    assert model_file(named) == tmp_path / "m.safetensors"
    own = PredictConfig(study=tmp_path, task="survival", name="second")
    assert model_file(own) == tmp_path / "runs" / "survival" / "second" / "model.safetensors"
    with pytest.raises(StudyError, match="gone"):
        model_file(PredictConfig(study=tmp_path / "gone"))


def test_a_table_says_where_slides_lie_only_by_its_column(tmp_path):
    table = tmp_path / "new.csv"
    assert not _has_addresses(None)
    assert not _has_addresses(table)
    table.write_text("patient_id,slide_id\nP,S\n")
    assert not _has_addresses(table)
    table.write_text("patient_id,slide_id,slide_url\nP,S,https://example.org/S.svs\n")
    assert _has_addresses(table)


def test_with_nothing_to_predict_from_nothing_is_written(tmp_path, monkeypatch):
    model = SimpleNamespace(record=SimpleNamespace(cohort=SimpleNamespace(is_synthetic=True)))
    monkeypatch.setattr(prediction_run, "read_ensemble", lambda _: model)
    said, out = [], tmp_path / "out"
    config = PredictConfig(model=tmp_path / "m.safetensors", out=out)
    with pytest.raises(StudyError, match=r"what is to be predicted\? Give --slides .*, --features, or a --cohort"):
        predict_slides(config, say=said.append)
    assert not said
    assert not out.exists()
