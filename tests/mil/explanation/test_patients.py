"""Who is explained by which heads, of a run and of a model from elsewhere; reading is stood in for."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.failures import StudyError
from mil.bags.bags import BagStore
from mil.explanation import patients as own_module
from mil.explanation.patients import find_patients
from mil.explanation.settings import EXPORTS, ExplainConfig
from mil.models.ensemble import Ensemble
from mil.models.known_patients import KnownPatients
from tests.helpers.model_records import some_model
from tests.helpers.some_heads import a_head

KNOWN = KnownPatients(
    is_known=True, patients=frozenset({"P1", "P2", "P3", "gone"}), patient_of_slide={"x": "P2"},
    trained=(frozenset({"P1", "P2"}), frozenset({"P2", "P3"})),
)  # fmt: skip


class Bags(BagStore):
    def __init__(self, names):
        self._slides, self.provenance = {name: [f"{name}-0"] for name in names}, "of these"


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Return a call that finds what is to be explained, and what it asked for."""
    asked = {}
    model = replace(some_model(), heads=(a_head("linear"), a_head("linear")))

    def make(*, bags=("P3", "P1", "new"), known=KNOWN, unit="patient", **settings):
        own = replace(model, record=replace(model.record, unit=unit))
        stand_ins = {
            "read_ensemble": lambda path: asked.update(model=path) or own,
            "bags_as_trained": lambda study, of_run, **given: asked.update(of_run=of_run, **given) or Bags(bags),
            "known_patients": lambda path, of: known,
            "content_sha256": lambda path: "ab",
            "read_sealed": lambda *_: SimpleNamespace(settings={"features": "kept"}),
        }
        for name, stand_in in stand_ins.items():
            monkeypatch.setattr(own_module, name, stand_in)
        monkeypatch.setattr(Ensemble, "check_features", lambda self, provenance, **_: asked.update(checked=provenance))
        (tmp_path / "study").mkdir(exist_ok=True)
        return find_patients(ExplainConfig(study=tmp_path / "study", **settings)), asked

    return make


def a_run(tmp_path):
    folder = tmp_path / "study" / "runs" / "subtype" / "default"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    return folder


def test_a_runs_own_patients_with_features_are_explained(found, tmp_path):
    with pytest.raises(StudyError, match=r"no finished run in .*default; train it"):
        found()
    run = a_run(tmp_path)
    what, asked = found()
    assert what.patients == ("P1", "P3")
    assert (what.out, what.tiles, what.slides) == (
        run / "explanation", run / "explanation" / "tiles", tmp_path / "study" / "slides",
    )  # fmt: skip
    assert (
        not what.is_by_other_model
        and what.model_sha256 == "ab"
        and what.model_file == run / "model.safetensors"
        and what.known is KNOWN
    )
    assert asked == {
        "model": run / "model.safetensors", "of_run": {"features": "kept"}, "by_slide": False, "features": None, "encoder": "e",
        "limit_bytes": 0, "checked": "of these",
    }  # fmt: skip
    assert found(unit="slide")[1]["by_slide"]


def test_a_model_from_elsewhere_explains_everybody_with_features(found, tmp_path):
    what, asked = found(model=Path("m.safetensors"), features=tmp_path / "f")
    assert what.patients == ("P1", "P3", "new")
    assert what.out == tmp_path / "study" / "explanation" and what.is_by_other_model
    assert (asked["model"], asked["of_run"], asked["features"]) == (Path("m.safetensors"), {}, tmp_path / "f")
    what, _ = found(model=Path("m.safetensors"), out=tmp_path / "o", slides=tmp_path / "s")
    assert (what.out, what.slides) == (tmp_path / "o", tmp_path / "s")


def test_patients_may_be_chosen_and_a_wrong_name_is_told(found, tmp_path):
    a_run(tmp_path)
    assert found(patients="P3")[0].patients == ("P3",)
    assert found(patients=" P3 ,,P1,")[0].patients == ("P1", "P3")
    with pytest.raises(StudyError, match="--patients: nobody with features is called 'P4'"):
        found(patients="zz,P4,P1")  # the first by name
    with pytest.raises(StudyError, match="is called 'new'"):  # with features, and not of the run
        found(patients="new")
    for empty in ({"patients": ""}, {"bags": ("new",)}):
        with pytest.raises(StudyError, match=r"no patient of .*default has features any more"):
            found(**empty)


@pytest.mark.parametrize(
    ("patient", "slide", "wanted"),
    [
        ("P1", "a", ([1], False)),
        ("P2", "a", ([0, 1], True)),  # trained both
        ("P3", "a", ([0], False)),
        ("gone", "a", ([0, 1], False)),  # of the run, and in no training part
        ("new", "a", ([0, 1], False)),
        ("new", "x", ([0, 1], True)),  # the slide is P2's
    ],
)
def test_heads_that_never_saw_a_patient_explain_it(found, tmp_path, patient, slide, wanted):
    a_run(tmp_path)
    what = found()[0]
    what.bags.slides_of = lambda of: [slide] if of == patient else []
    assert what.heads_of(patient) == wanted


def test_settings_are_checked_at_their_bounds():
    assert ExplainConfig(exports="none").wanted == ()
    assert ExplainConfig(exports=" png,, dicom ").wanted == ("png", "dicom")
    assert ExplainConfig(exports=",".join(EXPORTS)).wanted == EXPORTS
    assert (ExplainConfig().only, ExplainConfig(patients="a, b,").only) == (None, frozenset({"a", "b"}))
    for name, least in {"workers": 0, "sheet_tiles": 0, "seed": 0}.items():
        assert getattr(ExplainConfig(**{name: least}), name) == least
        with pytest.raises(ValueError, match=f"--{name}.* from 0, got .*-1"):
            ExplainConfig(**{name: least - 1})
    assert ExplainConfig(timeout_s=0.001, workers=None).workers is None
    for wrong, word in (
        ({"timeout_s": 0.0}, "above 0, got 0"), ({"timeout_s": float("nan")}, "above 0, got nan"),
        ({"exports": "svg,png,gif"}, "got gif, svg"), ({"task": "../x"}, "--task"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            ExplainConfig(**wrong)
