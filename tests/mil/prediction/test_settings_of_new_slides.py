"""Slides of a prediction are tiled and embedded as the model's were: its own settings, or a refusal. No slide is read."""

from types import SimpleNamespace

import pytest

from common.failures import SlideStatus, StudyError
from mil.models.record import StainReference
from mil.prediction import new_slides
from mil.prediction.new_slides import new_bags
from mil.prediction.settings import PredictConfig
from preprocessing.colour.stain import REFERENCE
from preprocessing.colour.stain_store import read_reference, reference_text, write_reference
from preprocessing.tiling.study_tiles import TiledStudy
from tests.helpers.model_records import some_model
from tests.helpers.painted_stains import some_fit

ENCODER = {
    "encoder": "resnet50", "weights_sha256": "w", "tile_um": 112.0, "tile_px": 224, "precision": "float32", "stain": "none",
    "stain_reference": "none", "transform": "",
}  # fmt: skip


class ReachedError(Exception):
    """Features would be made now."""


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Return what asks for the settings of tiles and features by a model of an encoder, with notes."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "s.svs").touch()
    seen = {}

    def tile(study, config, *, state="done"):
        seen["tiling"] = config
        rows = [SlideStatus(slide_id="s", step="t", state=seen.get("state", state), reason="why")]
        return TiledStudy(rows, rows, tmp_path / "x", tmp_path / "y")

    def embed(study, config):
        seen["extraction"] = config
        raise ReachedError

    monkeypatch.setattr(new_slides, "tile_study", tile)
    monkeypatch.setattr(new_slides, "embed_study", embed)
    monkeypatch.setattr(new_slides, "build_encoder", lambda card, weights: SimpleNamespace(weights_sha256="w"))

    def ask(encoder=ENCODER, *, reaches=True, state="done", tiling=None, stain_reference=None, given=None, **options):
        seen["state"] = state
        model = some_model(encoder=encoder, tiling=tiling, stain_reference=stain_reference)
        config = PredictConfig(slides=tmp_path / "in", out=tmp_path / "out", stain_reference=given, **options)
        if reaches:
            with pytest.raises(ReachedError):
                new_bags(config, model)
            return seen["tiling"], seen["extraction"]
        new_bags(config, model)
        return None

    return ask


def test_tiles_and_features_are_made_by_the_models_settings(asked):
    tiling, extraction = asked(threads=3, workers=1)
    assert (tiling.tile_um, tiling.tile_px, tiling.workers) == (112.0, 224, 1)
    assert (extraction.encoder, extraction.precision, extraction.normalise, extraction.scales) == (
        "resnet50",
        "float32",
        False,
        None,
    )
    assert (extraction.threads, extraction.workers, extraction.stain_reference) == (3, 1, None)
    tiling, extraction = asked(
        ENCODER | {"stain": "normalised", "transform": "resize 224; squares of 112, 448 µm side by side"},
        tiling={"tile_um": 128.0, "tile_px": 256, "stride_um": 96.0},
    )
    assert (tiling.tile_um, tiling.stride_um) == (128.0, 96.0)
    assert extraction.normalise and extraction.scales == "112,448"


@pytest.mark.parametrize("name", ["encoder", "tile_um", "tile_px"])
@pytest.mark.parametrize("value", ["", "unknown", None, 0])
def test_features_of_unknown_making_cannot_be_made_again(asked, name, value):
    with pytest.raises(StudyError, match=f"the model was trained on features whose {name} is not known"):
        asked(ENCODER | {name: value}, reaches=False)


def test_other_weights_and_settings_of_another_version_are_refused_before_any_slide(asked):
    with pytest.raises(StudyError, match="resnet50 with weights_sha256 'other', and its weights here have 'w'"):
        asked(ENCODER | {"weights_sha256": "other"}, reaches=False)
    with pytest.raises(StudyError, match="settings of tiles are of another version"):
        asked(tiling={"no_such_setting": 1}, reaches=False)
    with pytest.raises(StudyError, match="can be used"):
        asked(state="failed", reaches=False)


def test_colours_go_to_the_models_reference(asked, tmp_path):
    fit = some_fit(3)
    known = StainReference(
        matrix=tuple(map(tuple, fit.matrix.tolist())), pink=tuple(fit.pink.tolist()), p99=tuple(fit.p99.tolist()),
        lab=tuple(map(tuple, fit.lab.tolist())), is_exact=True,
    )  # fmt: skip
    encoder = ENCODER | {"stain": "normalised", "stain_reference": reference_text(fit)}
    _, extraction = asked(encoder, stain_reference=known)
    assert extraction.stain_reference == tmp_path / "out" / "stain_reference.json"
    found = read_reference(extraction.stain_reference)
    assert found.matrix == pytest.approx(fit.matrix) and found.p99 == pytest.approx(fit.p99)
    assert found.lab == pytest.approx(fit.lab) and found.pink == pytest.approx(fit.pink)
    built_in = ENCODER | {"stain": "normalised", "stain_reference": reference_text(REFERENCE)}
    assert asked(built_in, stain_reference=known)[1].stain_reference is None
    write_reference(tmp_path / "own.json", fit, name="own", made_of={})
    assert asked(encoder, given=tmp_path / "own.json")[1].stain_reference == tmp_path / "own.json"
    write_reference(tmp_path / "other.json", some_fit(4), name="other", made_of={})
    with pytest.raises(StudyError, match=r"--stain_reference .*other\.json: the model's slides were mapped to"):
        asked(encoder, given=tmp_path / "other.json", reaches=False)
