"""The painter's slides and patients stay what they were while its number in a slide's recipe stays.

A finished slide is kept by that number: a study continued by a painter that draws otherwise would mix two kinds of slides. Figures
in the documents rest on them, too.

Where pictures are meant to change, or another NumPy draws other numbers: raise the number in slide_and_truth.py, delete the file
beside this one, run this, look, commit.
"""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from preprocessing.synthetic.further_layout import FURTHER
from preprocessing.synthetic.further_painter import paint_further
from preprocessing.synthetic.layout import lay_out
from preprocessing.synthetic.looks import LOOK_ALIKES, SUBTYPES
from preprocessing.synthetic.painter import (
    FAT,
    NECROSIS,
    SECOND_TUMOUR,
    STROMA,
    TUMOUR,
    fibre_textures,
    grain_texture,
    paint,
)
from preprocessing.synthetic.scanner import render
from preprocessing.synthetic.synthetic_cohort import make_cohort, subtype_counts, truth_rows
from tests.helpers.slide_recipes import recipe

KEPT = Path(__file__).with_name("pictures_of_painter_4.npz")
SMALL = {"width_mm": 0.62, "height_mm": 0.51}
SLIDES = {
    "pen, blur and fold": {"pen": "blue", "is_blurred": True, "has_fold": True, "tumour_share": 0.4, **SMALL},
    "a fold, halved pixels": {"subtype": "UPS", "has_fold": True, "mpp": 0.25, "seed": (3, 4), **SMALL},
    "blood and ground": {
        "subtype": "MFS", "second_subtype": "SS", "second_tumour_share": 0.3, "clot_share": 0.12, "red_cells_share": 0.1,
        "hyaline_share": 0.12, "myxoid_share": 0.12, "tumour_share": 0.3, "seed": (5, 6), **SMALL,
    },
    "pieces, one pale, lumina, shadow": {
        "subtype": "DDLPS", "n_pieces": 2, "n_pale_pieces": 1, "lumen_share": 0.1, "shadow": 0.25, "open_fat_share": 0.2,
        "second_haematoxylin_share": 0.15, "clot_share": 0.05, "seed": (7, 8), "width_mm": 0.9, "height_mm": 0.7,
    },
    "look-alikes": {
        "subtype": "SS", "tumour_share": 0.15, "necrosis_share": 0.0, "fat_share": 0.0, "seed": (9, 1),
        **{f"{kind}_share": 0.14 for kind in LOOK_ALIKES}, **SMALL,
    },
}  # fmt: skip
LAYOUTS = {
    "three pieces and a pen": {"n_pieces": 3, "pen": "green", "is_blurred": True, "has_fold": True},
    "lumina": {"lumen_share": 0.25, "shadow": 0.1, "seed": (2, 1), "clot_share": 0.1, "hyaline_share": 0.2},
    "clefts": {"lumen_share": 0.5, "shadow": 0.1, "seed": (3, 1), "n_pieces": 2, "n_pale_pieces": 1},
    "a second look": {"second_subtype": "UPS", "second_tumour_share": 0.4, "shadow": 0.1, "seed": (4, 1)},
    "look-alikes": {"seed": (5, 1), "shadow": 0.1, **{f"{kind}_share": 0.1 for kind in LOOK_ALIKES}},
    "hardly any": {"seed": (6, 1), "shadow": 0.2, "tumour_share": 0.0, "necrosis_share": 0.0, "fat_share": 1.0},
}


def blocks(field, side):
    """Return mean and spread of squares of a picture; numbers that hang on a whole square, not on the last bit of a pixel."""
    field = np.asarray(field, np.float64)
    height, width = (n // side * side for n in field.shape[:2])
    squares = field[:height, :width].reshape(height // side, side, width // side, side, *field.shape[2:])
    return np.stack([squares.mean(axis=(1, 3)), squares.std(axis=(1, 3))]).astype(np.float32)


def kept(name, found, *, within):
    """Compare with what was kept; without the file, keep it and fail."""
    if not KEPT.is_file() or name not in np.load(KEPT):
        known = dict(np.load(KEPT)) if KEPT.is_file() else {}
        np.savez_compressed(KEPT, **known, **{name: found})
        pytest.fail(f"{KEPT} had no {name}: written")
    np.testing.assert_allclose(found, np.load(KEPT)[name], atol=within, rtol=0)


@pytest.mark.parametrize("name", SLIDES)
def test_a_slide_is_the_picture_that_it_was(name):
    wanted = recipe(**SLIDES[name])
    rng = np.random.default_rng(wanted.seed)
    image = render(wanted, lay_out(wanted, rng), rng)
    assert image.shape == (round(wanted.height_mm * 1000 / wanted.mpp), round(wanted.width_mm * 1000 / wanted.mpp), 3)
    kept(f"slide: {name}", blocks(image, 100), within=0.1)  # grey levels


@pytest.mark.parametrize("name", LAYOUTS)
def test_tissue_and_all_kinds_lie_where_they_lay(name):
    wanted = recipe(width_mm=2.4, height_mm=2.0, **LAYOUTS[name])
    fields = lay_out(wanted, np.random.default_rng(wanted.seed)).fields
    names = sorted(fields)
    assert set(names) - set(FURTHER) <= {"tissue", "tumour", "necrosis", "fat", "pen", "blur", "fold"}
    found = np.stack([blocks(np.clip(fields[each], -30, 30), 25) for each in names])
    kept(f"layout: {name}: {' '.join(names)}", found, within=2e-3)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_stain_lies_in_every_kind_of_tissue_as_it_did(subtype):
    regions = np.zeros((560, 600), np.uint8)
    for number, code in enumerate((STROMA, TUMOUR, NECROSIS, FAT, SECOND_TUMOUR, TUMOUR)):
        regions[20:540, number * 100 + 5 : number * 100 + 100] = code
    second = SUBTYPES[SUBTYPES.index(subtype) - 1]
    canvas = paint(regions, subtype, mitotic_density=0.6, rng=np.random.default_rng(1), second_subtype=second)
    found = np.stack([blocks(each, 40) for each in (canvas.haematoxylin, canvas.eosin, canvas.orientation / 20)])
    kept(f"stain: {subtype}", found, within=1e-3)


def test_textures_are_what_they_were():
    found = np.stack([blocks(each, 128)[0] for each in (*fibre_textures(), grain_texture())])
    kept("textures", found, within=1e-4)


def test_a_slide_without_further_kinds_has_no_layers_of_other_colours():
    wanted = recipe(**SMALL)
    laid = lay_out(wanted, np.random.default_rng(wanted.seed))
    canvas = paint(np.full((64, 64), STROMA, np.uint8), "LMS", mitotic_density=0.0, rng=np.random.default_rng(0))
    assert paint_further(canvas, {}, wanted, np.ones(3), np.random.default_rng(0)) == []
    assert not set(laid.fields) & set(FURTHER)


def numbers_of(slide):
    """Return a recipe as numbers; texts by their place among all."""
    texts = ["", *SUBTYPES, "black", "blue", "green"]
    flat = [own for value in astuple(slide) for own in (value if isinstance(value, tuple) else (value,))]
    known = [value for value in flat if not (isinstance(value, str) and value.startswith("SYN-"))]
    return [float(texts.index(value)) if isinstance(value, str) else float(value) for value in known]


def test_patients_of_the_study_are_who_they_were():
    patients = make_cohort(80, 0)
    slides = np.array([numbers_of(slide) for patient in patients for slide in patient.slides])
    kept("slides of patients", slides.astype(np.float32), within=1e-5)
    rows = truth_rows(patients)
    assert [patient.patient_id for patient in patients[:2]] == ["SYN-000", "SYN-001"]
    assert [slide.slide_id for slide in patients[0].slides] == [
        f"SYN-000-{n + 1}" for n in range(len(patients[0].slides))
    ]
    texts = {"subtype": SUBTYPES, "site": "ABC", "sex": "FM"}
    found = [
        [list(texts[key]).index(value) if key in texts else value for key, value in row.items()][1:] for row in rows
    ]
    kept("patients", np.array(found, np.float64), within=1e-6)


def test_patients_are_shared_out_among_subtypes_by_the_largest_remainder():
    wanted = {  # DDLPS, LMS, MFS, SS, UPS
        1: [0, 1, 0, 0, 0], 4: [1, 2, 0, 0, 1], 5: [1, 1, 1, 1, 1], 9: [2, 3, 1, 1, 2], 10: [2, 2, 2, 2, 2],
        12: [3, 3, 2, 2, 2], 39: [9, 14, 5, 3, 8], 40: [9, 11, 6, 6, 8], 60: [13, 20, 9, 6, 12], 250: [58, 100, 27, 14, 51],
    }  # fmt: skip
    assert {n: list(subtype_counts(n).values()) for n in wanted} == wanted
