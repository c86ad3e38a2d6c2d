"""The preview: every kind of mark in its colour at its place, a title that wraps, a strip below, bounded size."""

import numpy as np
import pytest
from PIL import Image, ImageFont
from shapely.geometry import box

from preprocessing.tiling.preview import (
    DROPPED,
    EXCLUDED,
    EXCLUSION,
    INK,
    MAX_SIDE_PX,
    MAX_STRIP_PX,
    MIN_WIDTH_PX,
    OUTLINE,
    TEXT_PX,
    TILE,
    UNREADABLE,
    PreviewMarks,
    _bounded,
    _wrapped,
    draw_preview,
    title_line,
)

GREY = 230
SLIDE = (8000, 6000)


def drawn(marks=None, *, overview=None, ink=None, pieces=(), coords=((1000, 1000),)):
    overview = np.full((300, 400, 3), GREY, np.uint8) if overview is None else overview
    is_ink = np.zeros(overview.shape[:2], bool)
    if ink is not None:
        is_ink[ink] = True
    return draw_preview(
        overview, is_ink, list(pieces), np.array(coords, np.int64).reshape(-1, 2), slide_px=SLIDE,
        tile_level0=(1000.0, 1000.0), marks=marks,
    )  # fmt: skip


def leans_to(pixel, colour):
    """Whether a pixel moved from the grey ground towards a colour."""
    moved, wanted = pixel.astype(float) - GREY, np.array(colour, float) - GREY
    cosine = (moved @ wanted) / (np.linalg.norm(moved) * np.linalg.norm(wanted) + 1e-9)
    return np.linalg.norm(moved) > 8 and cosine > 0.97


def test_without_marks_the_picture_is_the_slide_alone():
    image = drawn(pieces=[box(500, 500, 7000, 5000)], ink=(slice(0, 40), slice(0, 40)))
    assert image.shape == (1200, 1600, 3)  # a fifth of level 0
    assert leans_to(image[300, 300], TILE)
    assert leans_to(image[600, 100], OUTLINE)
    assert leans_to(image[20, 20], INK)
    assert (image[1100, 1500] == GREY).all()


def test_each_mark_stands_at_its_place_in_its_colour():
    marks = PreviewMarks(
        excluded=np.array([[3000, 1000]], np.int64), unreadable=((5000.0, 1000.0, 1000.0, 500.0),),
        exclusions=(box(1000, 3000, 2000, 4000),), title="slide 1",
    )  # fmt: skip
    image = drawn(marks)
    picture = image[image.shape[0] - 1200 :]
    assert leans_to(picture[300, 300], TILE)
    assert leans_to(picture[250, 700], EXCLUDED) and leans_to(picture[300, 700], EXCLUDED)
    cross, tint = picture[300, 700].astype(int), picture[250, 700].astype(int)
    assert cross[1] < tint[1] - 60  # the cross is stronger than the tint
    assert leans_to(picture[250, 1100], UNREADABLE)
    assert leans_to(picture[700, 200], EXCLUSION)
    head = image[: image.shape[0] - 1200].reshape(-1, 3)
    for colour in (OUTLINE, TILE, EXCLUDED, INK, UNREADABLE, EXCLUSION):
        assert (head == colour).all(axis=1).any()  # the legend


@pytest.mark.parametrize("shape", [(3000, 200, 3), (40, 30, 3), (5, 4000, 3), (1, 4000, 3), (4000, 1, 3)])
def test_the_picture_stays_bounded_and_long_titles_wrap(shape):
    strip = np.zeros((900, 3000, 3), np.uint8)
    marks = PreviewMarks(title="x" * 400 + " and words" * 10, strip=strip)
    image = drawn(marks, overview=np.full(shape, GREY, np.uint8))
    assert MIN_WIDTH_PX <= image.shape[1] <= MAX_SIDE_PX
    assert image.shape[0] <= MAX_SIDE_PX + MAX_STRIP_PX + 400
    font = ImageFont.load_default(size=TEXT_PX)
    lines = _wrapped(marks.title, font, 300)
    assert all(font.getlength(line) <= 300 for line in lines)
    assert "".join(lines).replace(" ", "") == marks.title.replace(" ", "")


def test_the_strip_stands_below_the_picture():
    strip = np.zeros((50, 300, 3), np.uint8)
    strip[..., 0] = 200
    image = drawn(PreviewMarks(title="s", strip=strip))
    assert (image[-25, 100] == (200, 0, 0)).all()
    assert (image[-25, 400] == 255).all()


def test_a_tile_smaller_than_a_pixel_is_still_seen():
    image = draw_preview(
        np.full((300, 400, 3), GREY, np.uint8), np.zeros((300, 400), bool), [], np.array([[50_000, 50_000]]),
        slide_px=(100_000, 75_000), tile_level0=(20.0, 20.0), marks=PreviewMarks(title="tiny"),
    )  # fmt: skip
    picture = image[image.shape[0] - 1200 :]
    assert leans_to(picture[800, 800], TILE)


def test_a_small_slide_is_enlarged_four_times_and_a_wide_one_fills_the_side():
    for shape, wanted in (((100, 200), (400, 800)), ((400, 300), (1600, 1200)), ((3200, 400), (1600, 200))):
        image = draw_preview(
            np.full((*shape, 3), GREY, np.uint8), np.zeros(shape, bool), [], np.empty((0, 2), np.int64), slide_px=SLIDE,
            tile_level0=(1000.0, 1000.0),
        )  # fmt: skip
        assert image.shape == (*wanted, 3)


@pytest.mark.parametrize(("tile_px", "is_crossed"), [(6.1, True), (5.9, False)])
def test_a_cross_needs_five_pixels(tile_px, is_crossed):
    """A tile's box ends a pixel before the next one begins."""
    marks = PreviewMarks(excluded=np.array([[4000, 3000]], np.int64), title="s")
    image = draw_preview(
        np.full((300, 400, 3), GREY, np.uint8), np.zeros((300, 400), bool), [], np.empty((0, 2), np.int64), slide_px=SLIDE,
        tile_level0=(tile_px * 5, tile_px * 5), marks=marks,
    )  # fmt: skip
    picture = image[image.shape[0] - 1200 :].astype(int)
    assert leans_to(picture[600, 800], EXCLUDED)
    inside = picture[602, 802]  # on the diagonal; beside it lies the tint alone
    assert (inside[1] < picture[602, 801, 1] - 40) == is_crossed


def test_what_is_not_taken_for_tissue_is_rimmed_and_not_filled():
    dropped = np.zeros((300, 400), bool)
    dropped[100:200, 150:300] = True
    dropped[140:160, 200:250] = False  # a hole has a rim too
    picture = drawn(PreviewMarks(dropped=dropped, title="s"), coords=())[-1200:]
    assert leans_to(picture[402, 900], DROPPED)
    assert (picture[480, 700] == GREY).all()
    assert leans_to(picture[558, 900], DROPPED)
    assert (picture[200, 300] == GREY).all()


def test_pieces_of_several_parts_and_their_holes_are_outlined():
    holed = box(500, 500, 3000, 3000).difference(box(1500, 1500, 2000, 2000))
    both = holed.union(box(5000, 3000, 6000, 4000))
    picture = drawn(pieces=[both], coords=())
    for x, y in ((100, 300), (300, 350), (1000, 700)):  # outer rim, hole, other part
        assert leans_to(picture[y, x], OUTLINE)
    assert (picture[200, 200] == GREY).all()


def test_a_strip_too_large_is_shrunk_and_a_small_one_never_enlarged():
    for shape, wanted in (
        ((900, 300), (400, 133)),
        ((100, 3200), (50, 1600)),
        ((50, 300), (50, 300)),
        ((1, 6400), (1, 1600)),
    ):
        found = _bounded(Image.fromarray(np.zeros((*shape, 3), np.uint8)), 1600, 400)
        assert (found.height, found.width) == wanted


def test_lines_are_broken_where_a_word_does_not_fit():
    class Font:
        def getlength(self, text):
            return len(text)

    assert _wrapped("ab cd efg", Font(), 5) == ["ab cd", "efg"]
    assert _wrapped("ab cd efg", Font(), 4) == ["ab", "cd", "efg"]
    assert _wrapped("abcdefgh ij", Font(), 3) == ["abc", "def", "gh", "ij"]
    assert _wrapped("abc", Font(), 0.5) == ["a", "b", "c"]
    assert _wrapped("", Font(), 5) == []


def test_the_title_says_what_a_person_looks_for():
    assert title_line("a", 0.25, 3.456, (40, 0), []) == "a  ·  0.25 um/px  ·  3.5 mm2 tissue  ·  40 tiles"
    assert title_line("a", 0.5, 3.0, (40, 7), ["pen 3%", "pale"]).endswith("40 tiles, 7 left out  ·  pen 3%, pale")
