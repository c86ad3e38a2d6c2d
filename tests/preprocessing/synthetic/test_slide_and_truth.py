"""The synthetic study: optics by Beer and Lambert, truth that fits the pixels, cohorts that are what they say."""

import json

import numpy as np
import openslide
import pytest
from pytest import approx

from preprocessing.make_demo_study import main
from preprocessing.reading.slide import open_slide
from preprocessing.synthetic import painter as synthetic_tissue
from preprocessing.synthetic.layout import lay_out
from preprocessing.synthetic.looks import SUBTYPES
from preprocessing.synthetic.painter import TUMOUR, paint
from preprocessing.synthetic.scanner import stain_matrix
from preprocessing.synthetic.slide_and_truth import make_slide, read_truth_mask, write_truth
from preprocessing.synthetic.synthetic_cohort import cohort_rows, make_cohort, subtype_counts
from tests.helpers.slide_recipes import recipe
from tests.reference.slow_overview import slow_overview


@pytest.mark.slow
@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_openslide_reads_scale_and_levels_and_the_bytes_repeat(tmp_path, mpp):
    for name in ("one", "two"):
        assert make_slide(recipe(mpp=mpp), tmp_path / f"{name}.tif", tmp_path / f"{name}.json") == "made"
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()
    assert make_slide(recipe(mpp=mpp), tmp_path / "one.tif", tmp_path / "one.json") == "kept"
    with openslide.OpenSlide(tmp_path / "one.tif") as slide:
        assert slide.dimensions == (round(1200 / mpp), round(1000 / mpp))
        assert slide.level_count >= 2
        assert float(slide.properties["openslide.mpp-x"]) == approx(mpp, rel=1e-4)
        assert float(slide.properties["openslide.mpp-y"]) == approx(mpp, rel=1e-4)
    assert make_slide(recipe(mpp=mpp, mitotic_density=0.9), tmp_path / "one.tif", tmp_path / "one.json") == "made"


def test_truth_fits_the_pixels(tmp_path):
    make_slide(recipe(pen="blue", is_single_level=True), tmp_path / "s.tif", tmp_path / "s.json")
    with open_slide(tmp_path / "s.tif") as slide:
        overview = slow_overview(slide, 8.0).astype(float)
    masks = {
        kind: read_truth_mask(tmp_path / "s.json", kind, 8.0) for kind in ("tissue", "tumour", "necrosis", "fat", "pen")
    }
    assert all(mask.shape == overview.shape[:2] for mask in masks.values())
    bare = ~masks["tissue"] & ~masks["pen"]
    assert overview[bare].mean(axis=0) == approx((243, 241, 244), abs=3)
    assert overview[masks["tissue"] & ~masks["pen"] & ~masks["fat"]].mean() < 215
    red, _, blue = overview[masks["pen"]].mean(axis=0)
    assert blue > red + 60
    n_tissue = masks["tissue"].sum()
    assert masks["necrosis"].sum() / n_tissue == approx(0.15, abs=0.02)
    assert (masks["tumour"].sum() + masks["necrosis"].sum()) / n_tissue == approx(0.65, abs=0.08)
    assert (masks["tumour"] & masks["necrosis"]).sum() < 0.02 * n_tissue  # a shared edge


def test_light_obeys_beer_and_lambert(tmp_path):
    make_slide(recipe(), tmp_path / "s.tif", tmp_path / "s.json")
    truth = json.loads((tmp_path / "s.json").read_text())
    assert np.array(truth["stain_matrix"]) == approx(stain_matrix(recipe()))
    with open_slide(tmp_path / "s.tif") as slide:
        pixels = slide.read_area((0, 0), (slide.width, slide.height), (slide.width // 4, slide.height // 4)).reshape(
            -1, 3
        )
    od = np.log(244 / (pixels.astype(float) + 1))
    od = od[od.max(axis=1) > 0.3]
    normal = np.cross(*stain_matrix(recipe()))
    off_plane = np.abs(od @ normal / np.linalg.norm(normal)) / np.linalg.norm(od, axis=1)
    assert np.median(off_plane) < 0.05  # all colours lie in the plane of the two stains


def test_subtypes_look_different_and_mitoses_add_nuclei():
    regions = np.full((512, 512), TUMOUR, np.uint8)
    share = {}
    for subtype in SUBTYPES:
        quiet, busy = (
            paint(regions, subtype, mitotic_density=level, rng=np.random.default_rng(0)).haematoxylin
            for level in (0.0, 1.0)
        )
        share[subtype] = float((quiet > 0.5).mean())
        assert (busy > 1.5).mean() > (quiet > 1.5).mean() + 0.002, subtype
    assert share["SS"] > 2 * share["MFS"]
    assert len({round(value, 3) for value in share.values()}) == 5


def test_vacuoles_clear_and_textures_repeat():
    regions = np.full((512, 512), TUMOUR, np.uint8)
    fatty = paint(regions, "DDLPS", mitotic_density=0.2, rng=np.random.default_rng(0))
    plain = paint(regions, "LMS", mitotic_density=0.2, rng=np.random.default_rng(0))
    assert (fatty.eosin < 0.02).mean() > (plain.eosin < 0.02).mean() + 0.1
    texture = synthetic_tissue.fibre_textures()
    assert texture.std(axis=(1, 2)) == approx(np.ones(16), abs=1e-3)


@pytest.mark.parametrize("n_patients", [1, 6, 10, 60, 250])
def test_subtypes_are_shared_out_as_in_life(n_patients):
    counts = subtype_counts(n_patients)
    assert sum(counts.values()) == n_patients
    assert min(counts.values()) >= (5 if n_patients >= 40 else 2 if n_patients >= 10 else 0)
    assert counts["LMS"] == max(counts.values())


def test_cohorts_have_ties_censoring_sites_and_a_hazard_that_tells():
    from mil.metrics.concordance import c_index

    patients = make_cohort(240, 1)
    time, event = np.array([p.time for p in patients]), np.array([p.event for p in patients])
    assert 0.4 < event.mean() < 0.65
    assert len(np.unique(time)) < len(time) / 2
    assert {p.site for p in patients} == {"A", "B", "C"}
    assert {len(p.slides) for p in patients} == {1, 2, 3}
    assert c_index(np.array([p.log_hazard for p in patients]), time, event) > 0.75
    flags = [slide for p in patients for slide in p.slides]
    assert all(
        0.02 < np.mean([bool(getattr(s, name)) for s in flags]) < 0.2
        for name in ("pen", "is_blurred", "is_pale", "has_fold")
    )


def test_some_slides_hold_what_real_ones_do_and_no_subtype_more_of_it():
    patients = make_cohort(400, 1)
    names = ("clot_share", "hyaline_share", "open_fat_share", "lumen_share")
    held = {
        subtype: np.mean(
            [any(getattr(s, n) > 0 for n in names) for p in patients if p.subtype == subtype for s in p.slides]
        )
        for subtype in ("DDLPS", "LMS", "UPS")
    }
    assert all(0.28 < share < 0.52 for share in held.values()), held
    slides = [slide for patient in patients for slide in patient.slides]
    for name in names:
        assert 0.05 < np.mean([getattr(slide, name) > 0 for slide in slides]) < 0.15, name
        assert max(getattr(slide, name) for slide in slides) <= 0.2


def test_a_patient_is_the_same_in_any_study_size():
    few, many = make_cohort(60, 3), make_cohort(60, 3)
    assert few == many
    assert {row["patient_id"] for row in cohort_rows(few)} == {p.patient_id for p in few}


def test_another_study_is_never_written_over(tmp_path, capsys):
    (tmp_path / "cohort.csv").write_text("patient_id,slide_id\nmine,1\n")
    assert main(["--study", str(tmp_path), "--patients", "1"]) == 2
    assert "another study" in capsys.readouterr().err
    (tmp_path / "cohort.csv").unlink()
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "mine.svs").touch()
    assert main(["--study", str(tmp_path), "--patients", "1"]) == 2
    assert (tmp_path / "slides" / "mine.svs").exists()


def test_what_takes_the_place_of_tumour_is_cut_out_of_its_truth(tmp_path):
    wanted = recipe(hyaline_share=0.3, width_mm=0.8, height_mm=0.8)
    laid = lay_out(wanted, np.random.default_rng(wanted.seed))
    write_truth(tmp_path / "t.json", wanted, laid, "x")
    masks = {
        kind: read_truth_mask(tmp_path / "t.json", kind, 8.0)
        for kind in ("tissue", "tumour", "fat", "hyaline", "necrosis")
    }
    fields = {name: field > 0 for name, field in laid.fields.items()}
    free = fields["tissue"] & ~fields["hyaline"] & ~fields["necrosis"]
    for kind, expected in (
        ("tumour", fields["tumour"] & free), ("fat", fields["fat"] & free), ("hyaline", fields["hyaline"]),
        ("necrosis", fields["necrosis"] & fields["tissue"]), ("tissue", fields["tissue"]),
    ):  # fmt: skip
        assert (masks[kind] != expected).mean() < 0.03, kind
        assert expected.any()
