"""A reference out of the fits of chosen slides: which are taken, in which order, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from common.failures import StudyError
from common.study import Study
from preprocessing.colour.stain import NO_STAIN, REFERENCE
from preprocessing.colour.stain_store import aggregate
from preprocessing.tiling.stain_reference import aggregate_stains
from preprocessing.tiling.tile_store import write_slide_tiles
from preprocessing.tiling.tiling_settings import StainReferenceConfig
from tests.helpers.painted_stains import some_fit
from tests.helpers.tiled_slides import TILES

FITS = {"d": some_fit(1), "b": some_fit(2), "c": REFERENCE, "a": NO_STAIN, "e": some_fit(3)}


@pytest.fixture
def study(tmp_path):
    study = Study(tmp_path)
    for slide, fit in FITS.items():
        write_slide_tiles(study.tile_file(slide), replace(TILES, slide_id=slide, stain=fit))
    study.cohort_table.write_text("patient_id,slide_id,site\n" + "".join(f"p{s},{s},{s in 'bd'}\n" for s in FITS))
    return study


@pytest.mark.parametrize(
    ("config", "own", "left_out"),
    [
        ({}, ["b", "d", "e"], ["a", "c"]),
        ({"slides": " e, b ,,e,c"}, ["b", "e"], ["c"]),
        ({"where": "site == 'True'"}, ["b", "d"], []),
    ],
)
def test_the_reference_is_of_the_chosen_slides_own_fits(study, config, own, left_out):
    found = aggregate_stains(study, StainReferenceConfig(name="mine", **config))
    wanted = aggregate([FITS[slide] for slide in own])
    assert np.array_equal(found.fit.matrix, wanted.matrix)
    assert np.array_equal(found.fit.p99, wanted.p99)
    assert list(found.methods.items()) == [(slide, FITS[slide].method) for slide in own]
    assert found.left_out == left_out
    assert found.path == study.root / "stain_references" / "mine.json"
    written = json.loads(found.path.read_text())
    assert (written["slides"], written["left_out"]) == ({slide: FITS[slide].method for slide in own}, left_out)


@pytest.mark.parametrize(
    ("slides", "message"),
    [("z,b,y", "--slides: no slide y, z; the clinical table has 5"), (" , ", "--slides: no slide given; the clinical table has 5"),
     ("a,c", "look at the column stain_fallback of status.csv")],
)  # fmt: skip
def test_slides_that_are_not_there_or_have_no_fit_are_refused(study, slides, message):
    with pytest.raises(StudyError, match=message):
        aggregate_stains(study, StainReferenceConfig(slides=slides))


def test_a_slide_without_a_whole_tile_file_is_named(study):
    study.tile_file("d").write_bytes(b"x")
    with pytest.raises(StudyError, match=r"d\.h5"):
        aggregate_stains(study, StainReferenceConfig())
    study.tile_file("d").unlink()
    with pytest.raises(StudyError, match=r"d has no tile file; run preprocessing/tile_slides\.py"):
        aggregate_stains(study, StainReferenceConfig())
