"""From a slide to its tile file: quality rules, edited outlines and masks, overlap, what is kept and what is made again."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pytest import approx
from shapely.geometry import shape

from common.failures import SlideError, SlideStatus, failed
from common.parallel import Outcome
from common.study import Study
from preprocessing.synthetic.slide_and_truth import make_slide, read_truth_mask
from preprocessing.tile_slides import main as tile
from preprocessing.tiling import study_tiles, tiling_job
from preprocessing.tiling.slide_tiles import STEP
from preprocessing.tiling.study_tiles import summary
from preprocessing.tiling.tile_store import read_slide_tiles
from tests.helpers.slide_recipes import recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """A study of one slide with pen and a blurred region, tiled at 128 µm."""
    study = Study(tmp_path_factory.mktemp("tiled") / "study")
    (study.root / "truth").mkdir(parents=True)
    marred = recipe(width_mm=2.2, height_mm=1.8, fat_share=0.3, pen="blue", is_blurred=True, mpp=0.5)
    make_slide(marred, study.slides / "s.tif", study.truth / "s.json")
    study.cohort_table.write_text("patient_id,slide_id\np,s\n")
    assert run(study) == 0
    return study


@pytest.fixture
def study(tiled, tmp_path):
    shutil.copytree(tiled.root, tmp_path / "study")
    return Study(tmp_path / "study")


def run(study, *flags):
    return tile(["--study", str(study.root), "--workers", "0", "--tile_um", "128", *flags])


def tiles_of(study):
    return read_slide_tiles(study.tile_file("s"))


def status_of(study):
    with (study.tiles / "status.csv").open(newline="") as file:
        return next(csv.DictReader(file))


def edited(study, change):
    """Edit the outline as QuPath does: our mark is gone."""
    path = study.outline_file("s")
    content = json.loads(path.read_text())
    features = change(content["features"])
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def square(side, name=None):
    ring = [[0, 0], [side, 0], [side, side], [0, side], [0, 0]]
    properties = {"classification": {"name": name}} if name else {}
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}


def shares(study, kind, coords):
    mask = read_truth_mask(study.truth / "s.json", kind, 4.0)
    corners = np.round(coords * 0.5 / 4.0).astype(int)
    return np.array([mask[y : y + 32, x : x + 32].mean() for x, y in corners])


def test_pen_and_blur_are_left_out_counted_and_flagged(tiled):
    tiles, status = tiles_of(tiled), status_of(tiled)
    assert shares(tiled, "pen", tiles.coords).max() < 0.25
    counts = tiles.exclusions.counts()
    assert counts["blurred"] > 0
    assert {name: int(status[f"n_excluded_{name}"]) for name in counts} == counts
    assert any(flag.startswith("blurred") for flag in tiles.flags)
    assert status["flags"].split("; ") == list(tiles.flags)
    left_out = tiles.exclusions.coords[tiles.exclusions.reason == tiles.exclusions.names.index("blurred")]
    assert shares(tiled, "blur", left_out).min() > 0.3
    both = {tuple(row) for row in tiles.coords.tolist()} & {tuple(row) for row in tiles.exclusions.coords.tolist()}
    assert not both
    assert set(tiles.quality) == {"sharpness", "pen", "fold", "blood", "necrosis_like", "glass", "od"}
    assert all(len(values) == len(tiles.coords) for values in tiles.quality.values())


def test_without_the_closer_look_nothing_is_left_out(study):
    n_before = len(tiles_of(study).coords)
    assert run(study, "--quality", "false") == 0
    tiles = tiles_of(study)
    assert len(tiles.coords) > n_before
    assert not len(tiles.exclusions.coords)
    assert not tiles.quality


def test_every_tile_knows_its_piece(tiled):
    tiles = tiles_of(tiled)
    pieces = [shape(feature["geometry"]) for feature in json.loads(tiled.outline_file("s").read_text())["features"]]
    assert tiles.n_pieces == len(pieces)
    assert tiles.piece.min() >= 1
    for (x, y), number in zip(tiles.coords[::7].tolist(), tiles.piece[::7].tolist(), strict=True):
        box = shape({"type": "Polygon", "coordinates": [[(x, y), (x + 256, y), (x + 256, y + 256), (x, y + 256)]]})
        areas = [piece.intersection(box).area for piece in pieces]
        assert int(np.argmax(areas)) + 1 == number


def test_an_edited_outline_is_used_kept_and_noticed(study, capsys):
    assert tiles_of(study).tissue_source == "segmented"
    edited(study, lambda features: [square(1300)])
    text = study.outline_file("s").read_text()
    assert run(study) == 0
    assert "made again, because tissue_source changed" in capsys.readouterr().out
    tiles = tiles_of(study)
    assert tiles.tissue_source == "edited outline"
    assert tiles.tissue_mm2 == approx((1300 * 0.5 / 1000) ** 2, rel=0.01)
    assert tiles.coords.max() < 1300
    assert study.outline_file("s").read_text() == text
    assert run(study) == 0
    assert "made again" not in capsys.readouterr().out
    study.outline_file("s").unlink()  # back to the segmentation
    assert run(study) == 0
    assert tiles_of(study).tissue_source == "segmented"


def test_an_exclusion_cuts_tiles_away_and_stays(study):
    before = tiles_of(study)
    edited(study, lambda features: [*features, square(1500, "Ignore*")])
    assert run(study) == 0
    after = tiles_of(study)
    inside = (before.coords + 256 <= 1500).all(axis=1)
    assert inside.any()
    assert not (after.coords + 256 <= 1500).all(axis=1).any()
    assert len(after.coords) < len(before.coords)


def test_a_broken_outline_is_named(study, capsys):
    study.outline_file("s").write_text("{broken")
    assert run(study) == 1
    assert "export it from QuPath again" in " ".join(capsys.readouterr().out.split())
    assert study.outline_file("s").read_text() == "{broken"


def test_a_mask_of_another_tool_in_the_study_is_used(study):
    mask = np.zeros((90, 110), np.uint8)
    mask[30:60, 40:80] = 7
    study.masks.mkdir()
    Image.fromarray(mask).save(study.masks / "s.png")
    assert run(study) == 0
    tiles = tiles_of(study)
    assert tiles.tissue_source == "mask image"
    assert tiles.tissue_mm2 == approx(30 / 90 * 40 / 110 * 2.2 * 1.8, rel=0.02)


def test_m2_a_mask_of_probabilities_needs_a_threshold_that_is_said_and_remembered(study, capsys):
    mask = np.zeros((90, 110), np.float32)
    mask[20:70, 30:90], mask[30:60, 40:80] = 0.3, 0.8
    study.masks.mkdir()
    Image.fromarray(mask).save(study.masks / "s.tif")
    assert run(study) == 1
    assert "--mask_threshold" in status_of(study)["remedy"]
    for threshold, share in (("0.5", 30 * 40), ("0.2", 50 * 60)):
        assert run(study, "--mask_threshold", threshold) == 0
        assert tiles_of(study).tissue_source == f"mask image, {threshold} and more"
        assert tiles_of(study).tissue_mm2 == approx(share / 90 / 110 * 2.2 * 1.8, rel=0.02)
        assert f"tissue of 1 by mask image, {threshold} and more" in capsys.readouterr().out
    before = study.tile_file("s").read_bytes()
    assert run(study, "--mask_threshold", "0.2") == 0
    assert study.tile_file("s").read_bytes() == before
    assert "made again" not in capsys.readouterr().out


def test_m2_a_threshold_does_not_make_slides_without_such_a_mask_anew(study, capsys):
    assert run(study, "--mask_threshold", "0.5") == 0
    assert "made again" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["0", "1.5", "-1"])
def test_m2_a_threshold_that_is_no_probability_is_refused(study, text, capsys):
    assert run(study, f"--mask_threshold={text}") == 2
    assert "--mask_threshold is a probability" in capsys.readouterr().err


def test_tiles_may_overlap_by_a_stride_in_micrometres(study):
    n_before = len(tiles_of(study).coords)
    assert run(study, "--stride_um", "64") == 0
    tiles = tiles_of(study)
    assert len(tiles.coords) > 3 * n_before
    assert np.unique(np.diff(np.unique(tiles.coords[:, 0]))).tolist() == [128]
    order = np.lexsort((tiles.coords[:, 0], tiles.coords[:, 1]))
    assert (order == np.arange(len(order))).all()


def test_two_scales_can_be_given_for_two_axes(study):
    assert run(study, "--mpp", "0.5,1.0") == 0
    tiles = tiles_of(study)
    assert (tiles.mpp_x, tiles.mpp_y, tiles.mpp_source) == (0.5, 1.0, "--mpp")
    assert np.unique(np.diff(np.unique(tiles.coords[:, 1]))).min() == 128
    assert np.unique(np.diff(np.unique(tiles.coords[:, 0]))).min() == 256


def test_the_same_bytes_on_two_runs(study, tiled):
    for path in study.tiles.rglob("*"):
        if path.is_file():
            path.unlink()
    assert run(study) == 0
    ours = {str(path.relative_to(study.tiles)): path.read_bytes() for path in study.tiles.rglob("*") if path.is_file()}
    theirs = {
        str(path.relative_to(tiled.tiles)): path.read_bytes() for path in tiled.tiles.rglob("*") if path.is_file()
    }
    assert ours == theirs


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mpp", "x"], "--mpp is µm a pixel"),
        (["--stride_um", "1"], "--stride_um"),
        (["--min_sharpness", "2"], "--min_sharpness is a share"),
        (["--stain", "fancy"], "--stain is vahadane"),
    ],
)
def test_settings_out_of_range_are_refused(study, capsys, flags, message):
    assert run(study, *flags) == 2
    assert message in capsys.readouterr().err


def test_a_run_of_a_part_keeps_what_is_known_of_the_rest(study):
    study.cohort_table.write_text("patient_id,slide_id\np,s\nq,blank\n")
    Image.new("RGB", (900, 900), "white").save(study.slides / "blank.png")
    assert run(study, "--mpp", "0.5") == 1
    both = (study.tiles / "status.csv").read_bytes()
    assert run(study, "--mpp", "0.5", "--where", "slide_id == 's'") == 0
    assert (study.tiles / "status.csv").read_bytes() == both
    assert "no tissue found" in (study.tiles / "contact_sheet.html").read_text()
    study.cohort_table.write_text("patient_id,slide_id\np,s\n")
    (study.slides / "blank.png").unlink()
    assert run(study, "--mpp", "0.5", "--where", "slide_id == 's'") == 0
    assert "blank" not in (study.tiles / "status.csv").read_text()  # it left the table


def test_a_slide_that_fails_shows_no_earlier_preview(study):
    assert study.preview_file("s").is_file()
    (study.slides / "s.tif").write_bytes(b"no slide any more")
    assert run(study) == 1
    assert not study.preview_file("s").exists()
    assert not study.tile_file("s").exists()


def test_a_folder_of_masks_that_is_not_there_is_refused(study, capsys):
    assert run(study, "--masks", str(study.root / "maskz")) == 2
    assert "no folder" in capsys.readouterr().err
    (study.root / "masks").mkdir()
    mask = np.zeros((180, 220), np.uint8)
    mask[20:160, 20:200] = 255
    Image.fromarray(mask).save(study.root / "masks" / "s.png")
    study.outline_file("s").unlink()
    assert run(study) == 0
    assert "tissue of 1 by mask image" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["s.PNG", "s.tif_mask_use.png", "s.svs_mask.png", "s_mask.png"])
def test_m3_masks_with_the_names_of_other_tools_are_matched(study, name, capsys):
    mask = np.zeros((90, 110), np.uint8)
    mask[30:60, 40:80] = 7
    study.masks.mkdir()
    Image.fromarray(mask).save(study.masks / name)
    assert run(study) == 0
    assert tiles_of(study).tissue_source == "mask image"
    assert "match" not in capsys.readouterr().out


def test_m3_masks_and_outlines_of_no_slide_are_listed_and_refused_where_they_were_named(study, capsys):
    folder = study.root / "masks"
    folder.mkdir()
    Image.fromarray(np.ones((90, 110), np.uint8)).save(folder / "other.png")
    (study.tiles / "s.json").write_text("{}")
    assert run(study) == 0
    printed = capsys.readouterr().out
    assert "match no slide (wanted <slide>.png or .tif): other.png" in printed
    assert "match no slide (wanted <slide>.geojson): s.json" in printed
    assert run(study, "--masks", str(folder)) == 2
    assert "other.png" in capsys.readouterr().err
    Image.fromarray(np.ones((90, 110), np.uint8)).save(folder / "s_mask.png")
    Image.fromarray(np.ones((90, 110), np.uint8)).save(folder / "s.tif_mask_use.png")
    assert run(study) == 2
    assert "masks of one slide" in capsys.readouterr().err


def test_m7_the_classes_taken_for_tissue_stand_in_the_status(study):
    assert "tissue_classes" not in status_of(study)
    edited(study, lambda features: [square(1300, "Tumor"), square(1200)])
    assert run(study) == 0
    assert status_of(study)["tissue_classes"] == "no class; Tumor"
    assert run(study) == 0
    assert status_of(study)["tissue_classes"] == "no class; Tumor"


@pytest.mark.parametrize("fault", ["timeout", "worker", "slide out of reach"])
def test_d1_a_failure_deletes_no_good_result_of_an_earlier_run(study, monkeypatch, fault):
    written = {path: path.read_bytes() for path in (study.tile_file("s"), study.preview_file("s"))}
    if fault in ("timeout", "worker"):  # with nothing to do no limit is short enough
        ended = Outcome("s", None, SlideError(f"the {fault} ended it", ""))
        monkeypatch.setattr(study_tiles, "over_slides", lambda *_args, **_options: iter([ended]))
    else:
        monkeypatch.setattr(tiling_job, "open_slide", unreachable)
        monkeypatch.setattr(tiling_job, "file_fingerprint", unreachable)
    assert run(study) == 1
    assert status_of(study)["state"] == "failed"
    assert {path: path.read_bytes() for path in written} == written


def unreachable(*_args, **_options):
    raise OSError(5, "Input/output error")


def test_d1_a_failure_leaves_no_result_of_other_settings(study):
    assert run(study, "--workers", "1", "--timeout_s", "0.01", "--tile_um", "100") == 1
    assert not study.tile_file("s").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_preview_that_a_refused_slide_is_told_to_be_looked_at_on_is_there(study, workers):
    study.cohort_table.write_text("patient_id,slide_id\np,blank\n")
    (study.slides / "s.tif").unlink()
    Image.new("RGB", (900, 900), "white").save(study.slides / "blank.png")
    assert run(study, "--mpp", "0.5", "--workers", workers) == 1
    row = status_of(study)
    assert row["reason"] == "no tissue found"
    assert str(study.preview_file("blank")) in row["remedy"]
    assert study.preview_file("blank").is_file()
    assert not study.tile_file("blank").exists()


def test_p9_a_run_with_nothing_to_do_opens_no_slide_and_says_the_same(study, monkeypatch):
    table = (study.tiles / "status.csv").read_bytes()
    monkeypatch.setattr(tiling_job, "open_slide", lambda *_, **__: pytest.fail("a slide is opened"))
    assert run(study) == 0
    assert (study.tiles / "status.csv").read_bytes() == table


def other_slide(study):
    with (study.slides / "s.tif").open("ab") as file:
        file.write(b"0")


def other_scale_in_the_table(study):
    study.cohort_table.write_text("patient_id,slide_id,mpp\np,s,0.25\n")


def same_scale_from_elsewhere(study):
    study.cohort_table.write_text("patient_id,slide_id,mpp\np,s,0.5\n")


def edited_outline(study):
    edited(study, lambda features: [*features[:1], square(200, "Ignore")])


def mask_beside(study):
    study.masks.mkdir()
    mask = np.zeros((72, 88), np.uint8)
    mask[10:60, 10:60] = 255
    Image.fromarray(mask).save(study.masks / "s.png")


def no_preview(study):
    study.preview_file("s").unlink()


def no_outline(study):
    study.outline_file("s").unlink()


def damaged_tiles(study):
    content = bytearray(study.tile_file("s").read_bytes())
    content[len(content) // 2] ^= 1  # within the arrays or the structure: any byte counts
    study.tile_file("s").write_bytes(content)


CHANGES = (
    other_slide, other_scale_in_the_table, same_scale_from_elsewhere, edited_outline, mask_beside, no_preview, no_outline,
    damaged_tiles,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_p9_whatever_changed_is_noticed_without_opening_what_did_not(study, change, monkeypatch):
    opened = []
    true_open = tiling_job.open_slide
    monkeypatch.setattr(tiling_job, "open_slide", lambda *own, **named: opened.append(own) or true_open(*own, **named))
    change(study)
    assert run(study) == 0
    assert len(opened) == 1
    assert run(study) == 0
    assert len(opened) == 1


def test_the_summary_counts_what_was_done_and_names_sources_of_tissue_in_order():
    def done(slide, **changes):
        figures = {
            "n_tiles": 3, "n_excluded_pen": 1, "n_excluded_fold": 2, "tissue_mm2": 1.25, "flags": "", "stain_fallback": "",
            "tissue_source": "segmented",
        }  # fmt: skip
        return SlideStatus(slide_id=slide, step=STEP, state="done", figures=figures | changes)

    statuses = [
        done("a", tissue_source="mask image"), done("b", tissue_source="edited outline", flags="pale"), done("c"),
        done("d", tissue_source="edited outline", stain_fallback="few"),
        failed("e", STEP, SlideError("no", "none")),
    ]  # fmt: skip
    assert summary(statuses) == (
        "4 slides, 5.0 mm² of tissue, 12 tiles (12 excluded), 1 slides with a flag, 1 stain fits by a fallback, tissue of 2 by "
        "edited outline, tissue of 1 by mask image"
    )


def test_a_slide_that_is_replaced_while_it_is_read_is_named_and_nothing_of_it_is_kept(study, monkeypatch):
    """Its fingerprint was taken of one file, and pixels may be of the other; that would be kept for ever."""
    original, path = tiling_job.tile_open_slide, study.slides / "s.tif"
    before, outline = path.read_bytes(), study.outline_file("s").read_bytes()

    def replaced_meanwhile(*arguments):
        found = original(*arguments)
        path.write_bytes(before + b"more")
        return found

    monkeypatch.setattr(tiling_job, "tile_open_slide", replaced_meanwhile)
    assert run(study, "--min_tissue", "0.6") == 1
    assert "was replaced or changed while it was read" in status_of(study)["reason"]
    assert not study.tile_file("s").exists()
    assert study.outline_file("s").read_bytes() == outline
    monkeypatch.undo()
    path.write_bytes(before)
    assert run(study) == 0
