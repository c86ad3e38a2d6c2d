"""A row without its file: the file that is meant is named, with why it is not taken."""

import unicodedata

import pytest
from PIL import Image

from common.failures import StudyError
from common.slide_files import find_slides, named_as_in_table, no_such_slide
from common.unread_files import unlike_its_name
from preprocessing.check_study import main as check
from preprocessing.reading.handles import open_handle
from preprocessing.tile_slides import main as tile
from preprocessing.tissue.given_files import match_masks, outlines_of_none

NFC, NFD = (unicodedata.normalize(form, "Präparat é") for form in ("NFC", "NFD"))


def touched(folder, *names):
    folder.mkdir(exist_ok=True, parents=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(("on_disk", "in_table"), [(NFD, NFC), (NFC, NFD), (NFC, NFC), (NFD, NFD)])
def test_r7_a_file_has_the_spelling_of_the_table(tmp_path, on_disk, in_table):
    files = named_as_in_table(find_slides(touched(tmp_path / "slides", f"{on_disk}.tif", "b.svs")), {in_table, "b"})
    assert files == {in_table: tmp_path / "slides" / f"{on_disk}.tif", "b": tmp_path / "slides" / "b.svs"}


def test_r7_two_spellings_on_disk_stay_two_slides(tmp_path):
    found = find_slides(touched(tmp_path / "slides", f"{NFD}.tif", f"{NFC}.tif"))
    assert named_as_in_table(found, {NFC}) == found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("s.vsi", "an Olympus VSI file"), ("s.jp2", "a JPEG 2000 file"), ("s.isyntax", "a Philips iSyntax file"),
        ("s.sdpc", "SDPC"), ("s.kfb", "KFBio"), ("s.bmp", "a Windows bitmap"), ("s.svs.part", "a copy that did not end"),
        ("s.svs.crdownload", "a copy that did not end"), ("s.zip", "an archive"), ("s.svs.gz", "an archive"),
        ("s", "without an ending"), ("s.abc", "the ending .abc"), ("S.tif", "differs from it only in its spelling"),
        ("S .tif", "differs from it only in its spelling"), ("s.VSI", "an Olympus VSI file"),
    ],
)  # fmt: skip
def test_r7_the_file_that_is_there_is_named_and_why_it_is_not_read(tmp_path, name, said):
    error = no_such_slide("s", touched(tmp_path / "slides", name, "other.svs", "s2.bmp"))
    assert error.reason.startswith("the table has this slide, but there is no such file: ")
    assert f"{name} " in error.reason
    assert said in error.reason
    assert error.remedy


def test_r7_a_table_with_the_ending_is_told_so_and_strangers_are_not_meant(tmp_path):
    folder = touched(tmp_path / "slides", "s.svs", "s.1.svs", "sarcoma.vsi")
    assert no_such_slide("s.svs", folder).remedy == "write s in the table"
    assert no_such_slide("sarc", folder).reason == "the table has this slide, but there is no such file"
    assert no_such_slide("s", tmp_path / "nowhere").reason == "the table has this slide, but there is no such file"


def test_r7_a_folder_without_slides_says_what_lies_there(tmp_path):
    with pytest.raises(StudyError, match=r"s\.vsi is an Olympus VSI file, which is not read"):
        find_slides(touched(tmp_path / "slides", "s.vsi"))


def saved(path, format_name, mode="RGB"):
    with path.open("wb") as file:
        Image.new(mode, (300, 300), 200 if mode == "L" else (200, 100, 200)).save(file, format_name)
    return path


@pytest.mark.parametrize(
    ("name", "kind", "said", "remedy"),
    [
        ("s.tif", "JPEG", "is a JPEG by its content, and called .tif", "rename it to s.jpg"),
        ("s.svs", "PNG", "is a PNG by its content, and called .svs", "rename it to s.png"),
        ("s.jpg", "TIFF", "is a TIFF by its content, and called .jpg", "rename it to s.tif"),
        ("s.ndpi", "BMP", "is a Windows bitmap by its content", "convert it"),
        ("s.tif", "JPEG2000", "is a JPEG 2000 file by its content", "convert it"),
        ("s.png", "GIF", "is a GIF picture by its content", "convert it"),
    ],
)  # fmt: skip
def test_r7_a_file_called_otherwise_than_it_is_is_named(tmp_path, name, kind, said, remedy):
    with pytest.raises(ValueError, match=said) as error:
        open_handle(saved(tmp_path / name, kind, "L" if kind == "GIF" else "RGB"))
    assert error.value.remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"), (bytes(9000), "begins with zeros"), (b"PK\x03\x04rest", "an archive"),
        (b"  <!DOCTYPE html><html>", "a text by its content"), (b"version https://git-lfs.github.com", "a text"),
        (bytes(128) + b"DICM", "a DICOM file"),
    ],
)  # fmt: skip
def test_r7_what_is_no_picture_at_all_is_named(tmp_path, content, said):
    (tmp_path / "s.tif").write_bytes(content)
    assert said in unlike_its_name(tmp_path / "s.tif").reason


def test_r7_a_png_called_jpg_is_read_and_damage_in_its_own_format_is_left_to_the_reader(tmp_path):
    assert open_handle(saved(tmp_path / "s.jpg", "PNG")).dimensions == (300, 300)
    (tmp_path / "s.svs").write_bytes(b"II*\0" + bytes(40))
    assert unlike_its_name(tmp_path / "s.svs") is None


def test_r7_masks_are_matched_in_any_spelling_and_outlines_are_told_apart(tmp_path):
    masks = match_masks(touched(tmp_path / "masks", f"{NFD}.png"), {NFC})
    assert masks.of_slide == {NFC: tmp_path / "masks" / f"{NFD}.png"}
    (line,) = outlines_of_none(touched(tmp_path / "tiles", f"{NFD}.geojson"), {NFC})
    assert "only its spelling differs" in line


def test_r7_both_scripts_name_the_file_that_is_there(tmp_path, capsys):
    study = tmp_path / "study"
    saved(touched(study / "slides", "b.vsi") / "a.tif", "JPEG")
    (study / "cohort.csv").write_text("patient_id,slide_id\n1,a\n2,b\n")
    for script in (check, tile):
        assert script(["--study", str(study), "--workers", "0", "--mpp", "0.5"]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert "b.vsi is there, an Olympus VSI file, which is not read" in said
        assert "rename it to a.jpg" in said
