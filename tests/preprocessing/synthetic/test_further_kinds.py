"""Red cells, hyaline and myxoid ground, open fat, lumina, pale pieces and shadows: where they lie, and how they look."""

import json
from functools import cache

import numpy as np
import pytest
from pytest import approx

from preprocessing.synthetic import layout as layout_module
from preprocessing.synthetic import scanner
from preprocessing.synthetic.further_layout import FURTHER, SCALES_UM, FurtherKinds
from preprocessing.synthetic.layout import lay_out
from preprocessing.synthetic.looks import LOOK_ALIKES, SUBTYPES
from preprocessing.synthetic.painter import COARSE_UM, enlarge
from preprocessing.synthetic.scanner import render
from preprocessing.synthetic.slide_and_truth import make_slide, read_truth_mask, recipe_settings
from tests.helpers.slide_recipes import recipe

ALL = {
    "clot_share": 0.1, "red_cells_share": 0.08, "hyaline_share": 0.1, "myxoid_share": 0.1, "open_fat_share": 0.15,
    "second_haematoxylin_share": 0.08, "lumen_share": 0.1, "shadow": 0.2,
    **{f"{kind}_share": 0.04 for kind in LOOK_ALIKES},
}  # fmt: skip
EOSIN = (0.2125, 0.85, 0.442)  # red and blue over green 0.25 and 0.52, as on the slide the red cells were measured on


MANY = {
    "clot_share": 0.15,
    "red_cells_share": 0.1,
    "hyaline_share": 0.2,
    "myxoid_share": 0.15,
    "second_haematoxylin_share": 0.12,
}


@cache
def painted(**changes):
    """Return a recipe's fields, enlarged to its pixels, and its densities (natural logarithm) against the glass."""
    wanted = recipe(eosin=EOSIN, **changes)
    laid = lay_out(wanted, np.random.default_rng(wanted.seed))
    image = render(wanted, laid, np.random.default_rng(wanted.seed))
    fields = {name: enlarge(field, image.shape[:2]) for name, field in laid.fields.items()}
    return fields, np.log((np.array(wanted.glass) + 1) / (image.astype(np.float64) + 1))


def inner(field):
    """A region without its rim of 16 µm, in units of a field that a Gaussian made."""
    from scipy.ndimage import binary_erosion

    return (
        binary_erosion((field > 0)[::4, ::4], iterations=8)
        .repeat(4, axis=0)
        .repeat(4, axis=1)[: len(field), : field.shape[1]]
    )


def test_a_slide_without_further_kinds_is_painted_as_before_there_were_any(monkeypatch):
    wanted = recipe(pen="blue", has_fold=True, is_blurred=True)

    def pixels():
        rng = np.random.default_rng(wanted.seed)
        return render(wanted, lay_out(wanted, rng), rng)

    with_stage = pixels()
    monkeypatch.setattr(layout_module, "lay_out_further", lambda *_: {})
    monkeypatch.setattr(scanner, "paint_further", lambda *_: [])
    np.testing.assert_array_equal(with_stage, pixels())
    assert not {"clot_share", "shadow", "n_pale_pieces"} & set(recipe_settings(wanted))
    assert recipe_settings(recipe(clot_share=0.1))["clot_share"] == 0.1


def test_each_kind_has_its_share_and_none_overlap():
    wanted = recipe(width_mm=1.8, height_mm=1.5, tumour_share=0.15, necrosis_share=0.03, **ALL)
    fields = lay_out(wanted, np.random.default_rng(wanted.seed)).fields
    tissue = fields["tissue"] > 0
    taken = np.zeros(tissue.shape, int)
    for kind in SCALES_UM:
        is_here = fields[kind] > 0
        assert is_here.sum() / tissue.sum() == approx(ALL[f"{kind}_share"], abs=0.02), kind
        assert not (is_here & ~tissue).any(), kind
        taken += is_here
    assert taken.max() == 1
    assert not ((fields["lumen"] > 0) & tissue).any()
    assert (fields["lumen"] > 0).sum() > 0.05 * tissue.sum()
    assert ((fields["shadow"] > 0) & (fields["tissue"] > 0)).sum() == 0


def test_necrosis_stays_as_large_as_it_was():
    plain, further = (
        lay_out(wanted, np.random.default_rng(wanted.seed)).fields
        for wanted in (recipe(), recipe(hyaline_share=0.4, clot_share=0.2, open_fat_share=0.2))
    )
    np.testing.assert_array_equal(plain["necrosis"], further["necrosis"])
    for kind in ("hyaline", "clot", "open_fat"):
        assert not ((further[kind] > 0) & (further["necrosis"] > 0)).any()


def test_a_lumen_of_03_mm2_is_among_them():
    from scipy.ndimage import label

    for seed in range(3):
        wanted = recipe(width_mm=2.4, height_mm=2.0, lumen_share=0.15, seed=(9, seed))
        labels, _ = label(lay_out(wanted, np.random.default_rng(wanted.seed)).fields["lumen"] > 0)
        assert np.bincount(labels.ravel())[1:].max() * (COARSE_UM / 1000) ** 2 > 0.25


def test_tissue_around_a_kind_is_what_it_was_without_it():
    plain_fields, plain = painted()
    fields, od = painted(**MANY)
    away = np.max([fields[kind] for kind in SCALES_UM if kind in fields], axis=0) < -0.05
    np.testing.assert_array_equal(plain_fields["tumour"], fields["tumour"])
    assert np.median(np.abs(od - plain)[away]) < 0.01


def test_red_cells_have_the_densities_that_were_measured():
    fields, od = painted(**MANY)
    clot = np.median(od[inner(fields["clot"])], axis=0)
    assert clot == approx([0.40, 1.25, 1.04], rel=0.15)
    cells = od[inner(fields["red_cells"])]
    is_cell = (cells[:, 1] > 0.8) & (cells[:, 0] < 0.45 * cells[:, 1]) & (cells[:, 2] > 0.58 * cells[:, 1])
    assert is_cell.mean() > 0.4
    low, high = np.percentile(cells[is_cell], [10, 90], axis=0)
    assert (low > (0.24, 0.82, 0.50)).all()
    assert (high < (0.45, 1.12, 0.80)).all()


def test_hyaline_and_myxoid_ground_is_pink_and_has_few_nuclei():
    fields, od = painted(**MANY)
    hyaline, myxoid, purple = (od[inner(fields[name])] for name in ("hyaline", "myxoid", "second_haematoxylin"))
    assert np.median(hyaline[:, 1]) > 2 * np.median(myxoid[:, 1])
    for ground in (hyaline, myxoid):
        red, green, blue = np.median(ground, axis=0)
        assert red < 0.5 * green
        assert blue < 0.65 * green
        assert (ground[:, 0] > 0.6).mean() < 0.02  # nuclei
    red, green, blue = np.median(purple, axis=0)
    assert red / green == approx(0.9, abs=0.06)
    assert blue / green == approx(0.73, abs=0.06)


def test_open_fat_is_empty_cells_with_thin_broken_walls():
    from scipy.ndimage import distance_transform_edt

    fields, od = painted(open_fat_share=0.5)
    inside = inner(fields["open_fat"])
    is_wall = od[..., 1] > 0.2  # half of a wall's
    assert 0.04 < is_wall[inside].mean() < 0.16
    assert np.median(od[inside & ~is_wall][:, 1]) < 0.03
    to_wall = distance_transform_edt(~is_wall)[inside] * 0.5
    assert 25 < np.percentile(to_wall, 99) < 70  # half of 80 to 120 µm and somewhat more at a gap
    thickness = 2 * np.percentile(distance_transform_edt(is_wall)[inside & is_wall] * 0.5, 80)
    assert 2 < thickness < 5


def test_lumina_have_stray_light_and_pale_pieces_hardly_any_colour():
    fields, od = painted(lumen_share=0.2, n_pieces=2, n_pale_pieces=1, fat_share=0.0, shadow=0.3)
    lumen = od[inner(fields["lumen"]) & ~(fields["pale_piece"] > -1)]
    assert (np.median(lumen, axis=0) > 0.05).all()
    assert (np.median(lumen, axis=0) < 0.095).all()
    pale = od[fields["pale_piece"] > 0]
    assert np.ptp(pale.mean(axis=0)) == approx(0.03, abs=0.012)
    shadow = od[fields["shadow"] > 0]
    assert np.ptp(shadow.mean(axis=0)) < 0.01
    assert 0.05 < shadow.mean() < 0.3


def test_the_truth_has_a_polygon_for_each_kind_and_takes_it_out_of_the_others(tmp_path):
    tumour = {"tumour_share": 0.2, "necrosis_share": 0.03, "second_subtype": "UPS", "second_tumour_share": 0.3}
    wanted = recipe(n_pieces=2, n_pale_pieces=1, **tumour, **ALL)
    make_slide(wanted, tmp_path / "s.tif", tmp_path / "s.json")
    polygons = json.loads((tmp_path / "s.json").read_text())["polygons"]
    assert set(FURTHER) < set(polygons)
    masks = {name: read_truth_mask(tmp_path / "s.json", name, 8.0) for name in polygons}
    n_tissue = masks["tissue"].sum()
    for kind in SCALES_UM:
        assert masks[kind].sum() / n_tissue == approx(ALL[f"{kind}_share"], abs=0.03), kind
        for other in ("tumour", "necrosis", "fat"):
            assert (masks[kind] & masks[other]).sum() < 0.02 * n_tissue, (kind, other)
    make_slide(recipe(), tmp_path / "plain.tif", tmp_path / "plain.json")
    assert not set(FURTHER) & set(json.loads((tmp_path / "plain.json").read_text())["polygons"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clot_share": -0.1}, "clot_share"), ({"lumen_share": 1.2}, "lumen_share"), ({"shadow": -1.0}, "shadow"),
        ({"hyaline_share": 0.6, "myxoid_share": 0.5}, "together"), ({"n_pale_pieces": -1}, "n_pale_pieces"),
    ],
)  # fmt: skip
def test_impossible_shares_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FurtherKinds(**changes)


def test_a_look_alike_takes_no_tumour_away():
    plain, crowded = (
        lay_out(wanted, np.random.default_rng(wanted.seed)).fields
        for wanted in (recipe(), recipe(**{f"{kind}_share": 0.2 for kind in LOOK_ALIKES}))
    )
    np.testing.assert_array_equal(plain["tumour"], crowded["tumour"])
    for kind in LOOK_ALIKES:
        assert not ((crowded.get(kind, plain["tumour"] * 0 - 1) > 0) & (crowded["tumour"] > 0)).any(), kind


@pytest.mark.slow
def test_a_look_alike_has_the_ground_of_its_tumour_and_not_its_nuclei():
    """Nuclei are dark: those of a tumour cover more than those of its look-alike, on a ground about as dark."""
    of_tumour = dict(
        zip(("septal_fat", "smooth_muscle", "loose_stroma", "lymphoid", "granulation"), SUBTYPES, strict=True)
    )
    for kind, subtype in of_tumour.items():
        lone = {"tumour_share": 0.45, "necrosis_share": 0.0, "fat_share": 0.0, "mitotic_density": 0.4}
        fields, density = painted(subtype=subtype, **lone, **{f"{kind}_share": 0.35})
        red = density[..., 0]
        tumour, alike = (red[inner(fields[name])] for name in ("tumour", kind))
        assert np.median(tumour) == approx(np.median(alike), abs=0.16), kind
        nuclei = 0.35 if kind == "lymphoid" else 0.7  # lymphocytes are as dark, and small
        assert (tumour > nuclei).mean() > 1.15 * (alike > nuclei).mean(), kind


def test_a_second_look_lies_inside_the_tumour_and_stays_tumour_in_the_truth(tmp_path):
    wanted = recipe(subtype="DDLPS", second_subtype="UPS", second_tumour_share=0.4)
    fields = lay_out(wanted, np.random.default_rng(wanted.seed)).fields
    second = fields["second_tumour"] > 0
    tumour = np.minimum(np.minimum(fields["tumour"], -fields["necrosis"]), fields["tissue"]) > 0
    assert not (second & ~tumour).any()
    assert second.sum() / tumour.sum() == approx(0.4, abs=0.02)
    for name, own in (("mixed", wanted), ("plain", recipe(subtype="DDLPS"))):
        make_slide(own, tmp_path / f"{name}.tif", tmp_path / f"{name}.json")
    mixed, plain = (read_truth_mask(tmp_path / f"{name}.json", "tumour", 4.0) for name in ("mixed", "plain"))
    np.testing.assert_array_equal(mixed, plain)
    assert read_truth_mask(tmp_path / "mixed.json", "second_tumour", 4.0).sum() > 0
    assert (tmp_path / "mixed.tif").read_bytes() != (tmp_path / "plain.tif").read_bytes()


def test_a_second_look_needs_its_share_and_its_name():
    for wrong in (
        {"second_subtype": "UPS"},
        {"second_tumour_share": 0.3},
        {"second_subtype": "GIST", "second_tumour_share": 0.3},
    ):
        with pytest.raises(ValueError, match="second_subtype"):
            recipe(**wrong)
