"""Masks and outlines of a folder go to their slides, by the names that other tools give them, too."""

import unicodedata

import pytest

from common.failures import StudyError
from preprocessing.tissue.given_files import match_masks, notes_on, outlines_of_none

SLIDES = {"a", "b", "c.1"}


def some_files(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text("x")
    return folder


@pytest.mark.parametrize(
    ("name", "slide"),
    [
        ("a.png", "a"), ("a.TIF", "a"), ("a_mask.png", "a"), ("a-MASK.tiff", "a"), ("a.svs_mask_use.png", "a"), ("a.svs.png", "a"),
        ("a.dcm.png", "a"), ("a.SVS.png", "a"), ("c.1.png", "c.1"), ("c.1.ndpi_mask.png", "c.1"), ("c.png", None),
        ("a.txt.png", None), ("a.png.txt", None),
        ("A.png", None), ("d.svs.png", None), ("a_mask_2.png", None), ("xmask.png", None), ("a.jpg", None),
    ],
)  # fmt: skip
def test_a_mask_is_of_the_slide_that_its_name_names(tmp_path, name, slide):
    found = match_masks(some_files(tmp_path, name), SLIDES)
    assert {own: path.name for own, path in found.of_slide.items()} == ({} if slide is None else {slide: name})
    assert found.of_none == (() if slide is not None else (name,))


def test_the_slides_own_name_goes_before_that_of_other_tools_and_png_before_tif(tmp_path):
    some_files(tmp_path, "a_mask.png", "a.tif", "b.tiff", "b.tif", "b.png", ".hidden.png", "z.png", "y.png")
    (tmp_path / "c.1.png").mkdir()
    found = match_masks(tmp_path, SLIDES)
    assert {slide: path.name for slide, path in found.of_slide.items()} == {"a": "a.tif", "b": "b.png"}
    assert found.of_none == ("y.png", "z.png")
    some_files(tmp_path, "a.svs_mask.png")  # two of other tools, and an own one
    assert match_masks(tmp_path, SLIDES).of_slide["a"].name == "a.tif"
    (tmp_path / "a.tif").unlink()
    with pytest.raises(
        StudyError, match=r"a\.svs_mask\.png, a_mask\.png are masks of one slide; keep one .* name it a\.png"
    ):
        match_masks(tmp_path, SLIDES)


def test_a_letter_of_two_signs_is_the_same_slide(tmp_path):
    one, two = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    some_files(tmp_path, f"{two}.png")
    assert list(match_masks(tmp_path, {one}).of_slide) == [one]


def test_outlines_of_no_slide_are_named(tmp_path):
    assert outlines_of_none(tmp_path / "none", SLIDES) == ()
    two = unicodedata.normalize("NFD", "é")
    folder = some_files(tmp_path / "o", "b.geojson", "z.geojson", "a.json", "a.GEOJSON", "notes.txt", f"{two}.geojson")
    found = outlines_of_none(folder, {*SLIDES, unicodedata.normalize("NFC", "é")})
    assert [own.partition(" (")[0] for own in found] == ["a.GEOJSON", "a.json", f"{two}.geojson", "z.geojson"]
    assert [own for own in found if "only its spelling differs" in own] == [
        f"{two}.geojson (only its spelling differs: letters of several signs)"
    ]


def test_five_files_are_named_and_more_are_counted():
    assert notes_on([], []) == ()
    (line,) = notes_on(list("abcde"), [])
    assert line.startswith("5 file(s) among the masks") and line.endswith(": a, b, c, d, e")
    masks, outlines = notes_on(list("abcdefg"), ["x"])
    assert masks.endswith("a, b, c, d, e and 2 more")
    assert outlines == "1 outline(s) match no slide (wanted <slide>.geojson): x"
