"""The pre-flight: each kind of trouble in a study is found, named once, and nothing is written or stopped by it."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from preprocessing.check_study import main
from preprocessing.checks import installation, study_check
from preprocessing.checks import slide_checks as preflight
from preprocessing.checks.slide_checks import SlideCheck, check_slides, estimated_effort, off_scale, slide_findings

RNG = np.random.default_rng(2)


def write_slide(path, *, mpp=0.5, side=2048, dark=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = RNG.integers(0, 40, (side, side, 3), dtype=np.uint8) if dark else 255 - RNG.integers(
        0, 60, (side, side, 3), dtype=np.uint8
    )  # fmt: skip
    tifffile.imwrite(path, image, tile=(256, 256), photometric="rgb", compression="jpeg",
                     resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER")  # fmt: skip


def write_study(root, names, **columns):
    table = {"patient_id": [f"P{index}" for index in range(len(names))], "slide_id": names, **columns}
    pd.DataFrame(table).to_csv(root / "cohort.csv", index=False)


def check(name, *, mpp=0.5, fingerprint=None, side=40_000, height=None, tile_ms=2.0):
    return SlideCheck(slide_id=name, reader="", width=side, height=height or side, mpp_x=mpp, mpp_y=mpp, mpp_source="file",
                      n_levels=4, is_dark=False, tile_ms=tile_ms, fingerprint=fingerprint or name)  # fmt: skip


def outcomes(*checks):
    return [preflight.Outcome(one.slide_id, one, None) for one in checks]


@pytest.mark.slow
def test_a_sound_study_is_passed_and_untouched(tmp_path, capsys):
    names = [f"s{index}" for index in range(4)]
    for name in names:
        write_slide(tmp_path / "slides" / f"{name}.tif")
    write_study(tmp_path, names, subtype=["A", "A", "B", "B"], time=[1, 2, 3, 4], event=[1, 1, 0, 1])
    before = sorted(tmp_path.rglob("*"))
    assert main(["--study", str(tmp_path), "--folds", "2", "--workers", "2"]) == 0
    assert sorted(tmp_path.rglob("*")) == before
    printed = capsys.readouterr().out
    assert "4 patients, 4 slides; A 2, B 2; 3 events" in printed
    assert "nothing found" in printed


@pytest.mark.slow
def test_every_trouble_is_found(tmp_path, capsys):
    slides = tmp_path / "slides"
    for name in ("a", "b", "nobody"):
        write_slide(slides / f"{name}.tif")
    shutil.copy(slides / "a.tif", slides / "copy.tif")
    write_slide(slides / "coarse.tif", mpp=2.0)
    write_slide(slides / "dark.tif", dark=True)
    (slides / "text.svs").write_text("<html>")
    Image.new("RGB", (600, 600), "white").save(slides / "photo.png")
    names = ["a", "b", "copy", "coarse", "dark", "text", "photo", "missing"]
    write_study(tmp_path, names, subtype=["A"] * 7 + ["B"], time=range(8), event=[0] * 8)
    assert main(["--study", str(tmp_path), "--folds", "5", "--workers", "2", "--out", str(tmp_path / "t.csv")]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    for found in (
        "a, copy: the same content under 2 names, of P0, P2", "coarse: mpp 2 (file), and the cohort's median is 0.5",
        "dark: the ground is dark", "text: text.svs is no slide", "photo: the file does not say how many µm",
        "missing: the table has this slide", "nobody: nobody.tif has no row", "subtype B has 1 patient(s), fewer than",
        "cohort: 8 patients for 5 folds", "cohort: 0 event(s), fewer than the 5 folds", "10 finding(s)",
    ):  # fmt: skip
        assert found in printed, found
    table = pd.read_csv(tmp_path / "t.csv").set_index("slide_id")
    assert table["state"].to_dict() == {**dict.fromkeys(table.index, "opens"), "text": "failed", "photo": "failed"}


def test_a_given_scale_is_used_and_the_table_wins(tmp_path, capsys):
    (tmp_path / "slides").mkdir()
    for name in ("p", "q"):
        Image.fromarray(RNG.integers(150, 255, (1300, 1300, 3), dtype=np.uint8)).save(tmp_path / f"slides/{name}.png")
    write_study(tmp_path, ["p", "q"], mpp_x=[0.5, None], mpp_y=[0.4, None])
    main(["--study", str(tmp_path), "--mpp", "0.6,0.5", "--workers", "1"])
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line[:2] in ("p ", "q ")}
    assert rows["p"][5:8] == ["0.5", "0.4", "cohort"]
    assert rows["q"][5:8] == ["0.6", "0.5", "--mpp"]


def test_a_wrong_table_or_flag_is_exit_2(tmp_path, capsys):
    write_slide(tmp_path / "slides" / "a.tif", side=512)
    write_study(tmp_path, ["a"], event=[7])
    assert main(["--study", str(tmp_path)]) == 2
    assert "event" in capsys.readouterr().err
    assert main(["--study", str(tmp_path), "--mpp", "much"]) == 2
    assert main(["--study", str(tmp_path / "none")]) == 2


def test_broken_files_cost_themselves_only(shared_data, tmp_path):
    files = sorted((shared_data / "broken").iterdir())
    jobs = [(path.stem, path, ((0.5, 0.5), "--mpp")) for path in files]
    found = check_slides(jobs, tile_um=256.0, workers=2, timeout_s=60.0)
    assert [row.name for row in found if row.error is None] == ["osp_small"]  # a whole file of 16 x 16 pixels
    assert all(row.error.remedy and "unexpected" not in row.error.reason for row in found if row.error is not None)
    assert any("no slide's" in finding.found for finding in slide_findings(found, {}))


@pytest.mark.slow
def test_a_slide_that_takes_too_long_costs_itself_only(tmp_path):
    os.mkfifo(tmp_path / "a.tif")  # a pipe that nobody writes into: whoever opens it waits
    write_slide(tmp_path / "b.tif", side=512)
    jobs = [(name, tmp_path / f"{name}.tif", None) for name in "ab"]
    slow, quick = check_slides(jobs, tile_um=256.0, workers=1, timeout_s=6.0)
    assert "time limit" in slow.error.reason
    assert quick.error is None


def test_two_scanners_are_no_fault_and_a_lone_scale_is():
    cohort = [check(f"a{index}") for index in range(20)] + [check(f"b{index}", mpp=0.25) for index in range(4)]
    lone, in_company = off_scale([*cohort, check("c", mpp=1.0)])
    assert [one.slide_id for one in lone] == ["c"]
    assert [one.slide_id for one in in_company] == ["b0", "b1", "b2", "b3"]
    assert off_scale([]) == ([], [])


@pytest.mark.parametrize("one", [check("x", side=200_000, height=9000), check("x", side=130_000), check("x", side=500)])
def test_an_absurd_field_of_view_is_found(one):
    (finding,) = slide_findings(outcomes(one), {})
    assert "field of view" in finding.found


def test_effort_is_area_times_the_rules_of_thumb():
    effort = estimated_effort([check("a"), check("b")], tile_um=256.0, workers=2)
    assert effort.n_tiles == 2 * int(0.3 * (20_000 / 256) ** 2)
    assert effort.feature_bytes == effort.n_tiles * (1280 * 2 + 16)
    assert effort.hours == pytest.approx(effort.n_tiles * (0.002 + 1 / 50) / 2 / 3600)


def test_too_little_space_is_found(tmp_path):
    assert preflight.space_findings(tmp_path, preflight.Effort(1, 1, 1.0)) == []
    (finding,) = preflight.space_findings(tmp_path, preflight.Effort(1, 10**18, 1.0))
    assert "GB are free" in finding.found


def test_without_a_study_the_installation_is_checked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installation, "_device", lambda: ("device", "CPU only", ""))  # torch takes seconds to ask
    assert main([]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for part in ("Python: 3.", "mirax", "dicom", "sha256 579344248a93", "device: CPU only", "memory:", "free disk:"):
        assert part in printed, part
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named_with_a_remedy(monkeypatch, capsys, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\ndependencies = ["numpy>=99.1", "no-such-package"]\n')
    monkeypatch.setattr(installation, "PROJECT", project)
    monkeypatch.setattr(installation, "WEIGHTS_SHA256", "0" * 64)
    monkeypatch.setattr(installation, "ASK_DEVICE", "raise ImportError('libcuda')")
    lines = {what: (found, remedy) for what, found, remedy in installation.check_installation(tmp_path)}
    assert "no-such-package is missing" in lines["packages"][1]
    assert "is older than 99.1" in lines["packages"][1]
    assert "none with sha256" in lines["encoder weights"][0]
    assert "libcuda" in lines["device"][0]
    assert all(lines[what][1] for what in ("packages", "encoder weights", "device"))


def test_columns_are_aligned():
    assert study_check.aligned([["a", "bb"], [10, 2]]) == "a   bb\n10  2"


@pytest.mark.parametrize(("ground", "corner", "is_dark"), [(230, 10, False), (10, 230, True)])
def test_a_corner_does_not_decide_whether_the_ground_is_dark(tmp_path, ground, corner, is_dark):
    image = np.full((3300, 3300, 3), ground, np.uint8)
    image[:1024, :1024] = corner
    tifffile.imwrite(tmp_path / "s.tif", image, tile=(256, 256), photometric="rgb", compression="jpeg")
    (outcome,) = check_slides(
        [("s", tmp_path / "s.tif", ((0.5, 0.5), "flag"))], tile_um=256.0, workers=0, timeout_s=60.0
    )
    assert outcome.value.is_dark is is_dark


def test_u2_an_installed_copy_knows_its_packages_without_a_checkout(monkeypatch, tmp_path):
    def packages():
        return next(row for row in installation.check_installation(tmp_path) if row[0] == "packages")

    monkeypatch.setattr(installation, "_device", lambda: ("device", "", ""))  # takes seconds
    checkout = packages()
    monkeypatch.setattr(installation, "PROJECT", tmp_path / "pyproject.toml")
    installed = packages()
    assert sorted(checkout[1].split(", ")) == sorted(installed[1].split(", "))
    assert "pytest" not in installed[1]
    assert installed[2] == ""


def test_t9_a_column_of_numbers_for_a_class_is_one_finding():
    patients = pd.DataFrame({"subtype": [str(40 + number % 34) for number in range(60)]})
    (found,) = preflight.cohort_findings(patients, n_folds=5)
    assert "subtype is a column of numbers (34 different, 40 to 73)" in found.found
    assert "columns" in found.remedy
    grades = pd.DataFrame({"subtype": ["1", "2", "3"] * 20})
    assert preflight.cohort_findings(grades, n_folds=5) == []
    rare = preflight.cohort_findings(pd.DataFrame({"subtype": ["1"] * 20 + ["2"] * 2}), n_folds=5)
    assert [each.found for each in rare] == ["subtype 2 has 2 patient(s), fewer than the 5 folds"]


def test_t11_no_fewer_folds_are_proposed_for_a_class_of_one_patient():
    found = preflight.cohort_findings(pd.DataFrame({"subtype": ["a"] * 9 + ["b"] + ["c"] * 3}), n_folds=5)
    assert [each.remedy.split(",")[0] for each in found] == [
        "--stratify event for survival alone",
        "fewer folds (--folds)",
    ]


def test_given_sets_are_taken_for_what_they_are(tmp_path, capsys):
    """A study as a tile table leaves it: no slides, features, one patient of a class, sets of its own."""
    (tmp_path / "features" / "e").mkdir(parents=True)
    (tmp_path / "features" / "e" / "p0.h5").write_bytes(b"")
    table = {
        "patient_id": ["p0", "p1", "p2", "p3"],
        "slide_id": ["p0", "p1", "p2", "p3"],
        "subtype": ["A", "B", "A", "B"],
    }
    pd.DataFrame(
        table | {"training_set": ["TRAIN", "Train", "VALID", "valid"], "is_valid": [False, False, True, True]}
    ).to_csv(tmp_path / "cohort.csv", index=False)
    assert main(["--study", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "given sets: train 2, val 0, test 2" in printed
    assert "the given sets are those of training_set; its VALID patients are the test set" in printed
    assert "no slides to look at" in printed
    assert "nothing found: go on with mil/train.py" in printed
    pd.DataFrame(table | {"set": ["Train", "VALID", "train", "VALID"]}).to_csv(tmp_path / "cohort.csv", index=False)
    assert main(["--study", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "no patient is in the set test: nothing will be evaluated" in printed
    assert "no training patient of B" in printed


def test_columns_that_were_not_filled_in_are_no_finding():
    """As a table begins that is to be filled in: the outcome is not known of anybody."""
    empty = pd.DataFrame({"subtype": ["A"] * 9 + ["B"] * 9, "event": pd.array([pd.NA] * 18, dtype="Int64")})
    assert preflight.cohort_findings(empty, n_folds=5) == []
    sets = empty.assign(set=["train", "test"] * 9)
    assert preflight.cohort_findings(sets, n_folds=5) == []
    one = empty.assign(event=pd.array([1] + [pd.NA] * 17, dtype="Int64"))
    assert "1 event(s), fewer than the 5 folds" in preflight.cohort_findings(one, n_folds=5)[0].found


def test_the_ground_is_judged_by_small_squares_all_over_the_slide(tmp_path):
    places = [round(1792 * step / 3) for step in range(4)]  # of squares of 256 px
    for inside, outside in ((200, 20), (20, 200)):
        image = np.full((2048, 2048, 3), outside, np.uint8)
        for y in places:
            for x in places:
                image[y : y + 256, x : x + 256] = inside
        tifffile.imwrite(tmp_path / "s.tif", image, tile=(256, 256), photometric="rgb")
        assert preflight.check_slide("s", tmp_path / "s.tif", ((0.5, 0.5), "--mpp"), 128.0).is_dark == (inside == 20)
