"""A stain fit comes back as it was stored; references come from images, files and chosen slides."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pytest import approx

from common.arrays import read_arrays, write_arrays
from common.failures import StudyError
from preprocessing.colour.stain import REFERENCE, fit_stain
from preprocessing.colour.stain_store import (
    aggregate,
    fit_arrays,
    fit_attributes,
    fit_of,
    read_reference,
    reference_text,
    write_reference,
)
from preprocessing.make_stain_reference import main as make_reference
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.tile_store import write_slide_tiles
from tests.helpers.painted_stains import painted_patches, random_stains, some_fit, unit


@pytest.mark.parametrize("fit", [some_fit(1), some_fit(2, "reinhard"), replace(some_fit(3), lab=None)])
def test_a_fit_comes_back_from_a_file(tmp_path, fit):
    write_arrays(tmp_path / "fit.h5", fit_arrays(fit), fit_attributes(fit))
    file = read_arrays(tmp_path / "fit.h5")
    found = fit_of(file.arrays, file.attributes)
    assert (found.method, found.glass, found.fallback) == (fit.method, fit.glass, fit.fallback)
    assert found.strength == fit.strength
    for name in ("matrix", "p99", "basis"):
        assert getattr(found, name).tobytes() == getattr(fit, name).tobytes()
    assert (found.lab is None) if fit.lab is None else np.array_equal(found.lab, fit.lab)


def test_an_aggregate_is_median_and_mean_and_leaves_out_what_was_not_fitted():
    fits = [some_fit(seed) for seed in range(5)]
    found = aggregate([*fits, REFERENCE, fit_stain([], method="none")])
    assert found.matrix == approx(unit(np.median([fit.matrix for fit in fits], axis=0)))
    assert found.p99 == approx(sum(fit.p99 for fit in fits) / 5)
    assert found.basis[1] == approx(unit(np.median([fit.pink for fit in fits], axis=0)[None])[0])
    assert found.lab == approx(sum(fit.lab for fit in fits) / 5)
    assert aggregate([fits[0], replace(fits[1], lab=None)]).lab is None
    with pytest.raises(ValueError, match="none of the slides"):
        aggregate([REFERENCE])


def test_a_reference_file_comes_back_and_its_text_names_its_colours(tmp_path):
    reference = aggregate([some_fit(1), some_fit(2)])
    path = tmp_path / "mine.json"
    write_reference(path, reference, name="mine", made_of={"slides": {"a": "vahadane"}})
    found = read_reference(path)
    assert found.matrix == approx(reference.matrix, abs=1e-15)
    assert reference_text(found) == reference_text(reference) != reference_text(REFERENCE)
    assert reference_text(replace(found, lab=found.lab + 1)) != reference_text(found)
    assert read_reference(None) is REFERENCE


def test_an_image_is_a_reference(tmp_path):
    rng = np.random.default_rng(4)
    patches = painted_patches(random_stains(rng), rng, n_patches=4, side=144)
    Image.fromarray(np.hstack(patches)).save(tmp_path / "good.png")
    found = read_reference(tmp_path / "good.png")
    assert found.method == "reference"
    assert found.lab is not None
    Image.fromarray(np.full((300, 300, 3), 243, np.uint8)).save(tmp_path / "white.png")
    with pytest.raises(StudyError, match="stained pixels"):
        read_reference(tmp_path / "white.png")


@pytest.mark.parametrize(
    "content",
    [
        "", "[1]", '{"schema": "other/1"}',
        '{"schema": "stain_reference/2", "matrix": [[1, 2]], "pink": [1, 1, 1], "p99": [1, 1], "lab": null}',
    ],
)  # fmt: skip
def test_files_that_are_no_reference_are_refused(tmp_path, content):
    (tmp_path / "bad.json").write_text(content)
    (tmp_path / "bad.png").write_text(content)
    for name in ("bad.json", "bad.png", "absent.json"):
        with pytest.raises(StudyError, match=name):
            read_reference(tmp_path / name)


def make_study(root, fits):
    (root / "tiles").mkdir(parents=True)
    rows = ["patient_id,slide_id,subtype,set"]
    for index, fit in enumerate(fits):
        slide_id = f"S{index}"
        rows.append(f"P{index},{slide_id},LMS,{'train' if index < 3 else 'test'}")
        tiles = SlideTiles(
            slide_id=slide_id, coords=np.zeros((1, 2), np.int64), tissue_fraction=np.ones(1, np.float32), mpp_x=0.5,
            mpp_y=0.5, mpp_source="file", tile_um=256.0, tile_px=256, slide_width=900, slide_height=900, tissue_mm2=0.1,
            piece=np.ones(1, np.int32), n_pieces=1, stride_um=256.0, tissue_source="segmented", tissue_fingerprint="",
            stain=fit, slide_fingerprint="", settings="{}",
        )  # fmt: skip
        write_slide_tiles(root / "tiles" / f"{slide_id}.h5", tiles)
    (root / "cohort.csv").write_text("\n".join([rows[0], *rows[:0:-1]]) + "\n")  # in any order


def test_a_reference_is_made_of_the_slides_chosen_and_says_which(tmp_path, capsys):
    fits = [some_fit(0), some_fit(1, "macenko"), replace(REFERENCE, fallback="too few"), some_fit(3)]
    make_study(tmp_path / "study", fits)
    flags = ["--study", str(tmp_path / "study"), "--name", "train"]
    assert make_reference([*flags, "--where", "set == 'train'"]) == 0
    path = tmp_path / "study" / "stain_references" / "train.json"
    written = path.read_bytes()
    value = json.loads(written)
    assert value["slides"] == {"S0": "vahadane", "S1": "macenko"}
    assert value["left_out"] == ["S2"]
    assert read_reference(path).p99 == approx((fits[0].p99 + fits[1].p99) / 2)
    assert make_reference([*flags, "--slides", "S1, S0,S2"]) == 0
    assert path.read_bytes() == written
    assert make_reference([*flags, "--slides", "S2"]) == 2
    assert "stain_fallback" in capsys.readouterr().err
    for wrong in (["--slides", "S9"], ["--slides", "S0", "--where", "set == 'train'"], ["--name", "../x"]):
        assert make_reference([*flags, *wrong]) == 2
    assert path.read_bytes() == written
