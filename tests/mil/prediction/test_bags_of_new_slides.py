"""The bags to be predicted: who their patients are, what was lost on the way, and parts that are made elsewhere."""

from types import SimpleNamespace

import pandas as pd
import pytest

from common.failures import SlideStatus, StudyError
from mil.bags.bags import BagStore
from mil.models.ensemble import Ensemble
from mil.prediction import new_slides
from mil.prediction.new_slides import NewBags, PartMade, new_bags
from mil.prediction.settings import PredictConfig
from preprocessing.tiling.study_tiles import TiledStudy
from tests.helpers.model_records import some_model

NAMES = ("a", "b", "c")


def row(slide, state="done", step="tiling"):
    return SlideStatus(slide_id=slide, step=step, state=state, reason=f"{step} of {slide}" if state == "failed" else "")


@pytest.fixture
def bags(tmp_path, monkeypatch):
    """Return a call that makes bags of three slides; tiling, embedding and reading are stood in for."""
    asked = {}
    (tmp_path / "in").mkdir()
    for name in NAMES:
        (tmp_path / "in" / f"{name}.svs").touch()

    def make(*, tiled, all_tiled=None, embedded=(), missing=(), notes=(), tile_files=("a",), unit="patient", **options):
        out = tmp_path / "out"
        for name in tile_files:
            (out / "tiles").mkdir(parents=True, exist_ok=True)
            (out / "tiles" / f"{name}.h5").touch()
        asked.clear()
        made = TiledStudy(tiled, tiled if all_tiled is None else all_tiled, tmp_path / "x", tmp_path / "y", notes)
        outcomes = SimpleNamespace(outcomes=[SimpleNamespace(all_statuses=list(embedded))])
        store = BagStore.__new__(BagStore)
        store.provenance = "of these"
        stand_ins = {
            "_settings": lambda *_: (None, None, ["of settings"]), "tile_study": lambda *_: made,
            "embed_study": lambda *_: asked.update(embedded=True) or outcomes,
            "open_bags": lambda study, cohort, encoder, **given: (
                asked.update(encoder=encoder, **given) or (store, None, list(missing))
            ),
        }  # fmt: skip
        for name, stand_in in stand_ins.items():
            monkeypatch.setattr(new_slides, name, stand_in)
        monkeypatch.setattr(Ensemble, "check_features", lambda self, provenance, *, what: asked.update(what=what))
        given = {"slides": tmp_path / "in"} | options
        return new_bags(PredictConfig(out=out, **given), some_model(unit=unit)), asked

    return make


def test_slides_lost_at_any_step_are_named_once(bags):
    found, asked = bags(
        tiled=[row("a"), row("b", "failed"), row("c")], embedded=[row("a"), row("c", "failed", "embedding")],
        missing=["b", "c", "a"], notes=("of tiling",),
    )  # fmt: skip
    assert isinstance(found, NewBags)
    assert [(own.slide_id, own.step) for own in found.failed] == [("b", "tiling"), ("c", "embedding"), ("a", "predict")]
    assert found.failed[2].reason == "it has no features"
    assert found.notes == ("of settings", "of tiling")
    assert asked == {"embedded": True, "encoder": "e", "features": None, "what": "the features made here"}
    with pytest.raises(StudyError, match=r"no slide of .*in can be used"):
        bags(tiled=[row(name, "failed") for name in NAMES])


def test_of_a_part_it_is_told_what_other_parts_still_have_to_make(bags):
    part, _ = bags(tiled=[row("a"), row("b", "failed")], embedded=[row("a")], shard="1/2")
    assert part == PartMade(2, 1, (row("b", "failed"),))
    part, _ = bags(tiled=[row("b")], all_tiled=[row("a", "failed"), row("b")], embedded=[row("b")], shard="1/2")
    assert (part.n_slides, part.n_missing, part.failed) == (1, 1, ())  # what failed was another part's
    whole, _ = bags(tiled=[row("a"), row("b")], embedded=[row(name) for name in NAMES], shard="2/2")
    assert isinstance(whole, NewBags)


def test_a_part_without_a_tile_file_embeds_nothing(bags):
    part, asked = bags(tiled=[row("a", "failed")], tile_files=(), shard="1/2")
    assert part == PartMade(1, 2, (row("a", "failed"),))
    assert asked == {}


def test_patients_are_those_of_barcodes_else_each_slide_its_own(bags, tmp_path):
    for name in ("TCGA-AB-1234-01Z-00-DX1", "xTCGA"):
        (tmp_path / "in" / f"{name}.svs").touch()
    found, _ = bags(tiled=[row("a")])
    table = pd.read_csv(tmp_path / "out" / "cohort.csv")
    assert dict(zip(table["slide_id"], table["patient_id"], strict=True)) == {
        "a": "a", "b": "b", "c": "c", "TCGA-AB-1234-01Z-00-DX1": "TCGA-AB-1234", "xTCGA": "xTCGA",
    }  # fmt: skip
    assert (found.study.slides, found.study.cohort_table) == (tmp_path / "in", tmp_path / "out" / "cohort.csv")
    assert [len(found.cohort.rows), found.notes] == [5, ("of settings",)]


def test_a_table_that_is_given_is_taken_and_a_missing_one_refused(bags, tmp_path):
    pd.DataFrame({"patient_id": ["P", "P"], "slide_id": ["a", "b"]}).to_csv(tmp_path / "own.csv", index=False)
    found, _ = bags(tiled=[row("a")], cohort=tmp_path / "own.csv")
    assert [own["patient_id"] for own in found.cohort.rows] == ["P", "P"]
    found, _ = bags(tiled=[row("a")], cohort=tmp_path / "own.csv", unit="slide")
    assert [own["patient_id"] for own in found.cohort.rows] == ["a", "b"]
    with pytest.raises(StudyError, match=r"--cohort: no table at .*none\.csv"):
        bags(tiled=[row("a")], cohort=tmp_path / "none.csv")
    found, asked = bags(tiled=[], cohort=tmp_path / "own.csv", slides=None, features=tmp_path / "f", missing=["b"])
    assert asked == {"encoder": "e", "features": tmp_path / "f", "what": f"the features in {tmp_path / 'f'}"}
    assert [own.slide_id for own in found.failed] == ["b"]
