"""What every picture shares: looks told apart, round ticks, letters as text, the same SVG each time, a clean home."""

import os

import pytest

from mil.report import drawing
from mil.report.drawing import (
    COLOURS,
    DASHES,
    LEAST_POINTS,
    MARKERS,
    Picture,
    as_svg,
    keep_home_clean,
    new_axes,
    readable_letters,
    round_ticks,
    style_of,
)


def test_looks_go_round_by_their_place():
    assert [style_of(at).colour for at in range(9)] == [*COLOURS, COLOURS[0]]
    assert [style_of(at).dashes for at in range(6)] == [*DASHES, DASHES[0]]
    assert [style_of(at).marker for at in range(12)] == [*MARKERS, MARKERS[0]]
    assert len({(style_of(at).colour, str(style_of(at).dashes), style_of(at).marker) for at in range(440)}) == 440


@pytest.mark.parametrize(
    ("end", "ticks"),
    [(10, [0, 2, 4, 6, 8, 10]), (1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (61, [0, 20, 40, 60]), (24, [0, 5, 10, 15, 20])],
)
def test_ticks_are_round_numbers_from_0_to_the_end(end, ticks):
    assert round_ticks(end) == pytest.approx(ticks)


@pytest.fixture
def home(tmp_path, monkeypatch):
    left = []
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(drawing.atexit, "register", lambda *own, **_more: left.append(own[1]))
    return tmp_path / "matplotlib", left


def test_the_list_of_fonts_goes_with_the_process(home):
    _, left = home
    keep_home_clean()
    folder = os.environ["MPLCONFIGDIR"]
    assert os.path.isdir(folder)  # noqa: PTH112
    assert left == [folder]
    keep_home_clean()  # it has one now
    assert (os.environ["MPLCONFIGDIR"], left) == (folder, [folder])
    os.rmdir(folder)  # noqa: PTH106


def test_a_list_of_fonts_that_is_there_already_is_used(home):
    cache, left = home
    cache.mkdir()
    (cache / "fontlist-v390.json").touch()
    keep_home_clean()
    assert "MPLCONFIGDIR" not in os.environ
    assert left == []


def picture(title="a < b"):
    with readable_letters():
        figure, axes = new_axes(3, 2)
        axes.plot([0, 1], [0, 1], label="cost in $ and $")
        axes.legend()
    return Picture(figure=figure, names=["x"], rows=[[1]], title=title, description="rises & falls")


def test_a_picture_is_text_with_a_name_and_the_same_every_time():
    svg = as_svg(picture())
    assert svg == as_svg(picture())
    assert '<svg role="img" aria-labelledby="title description"' in svg
    assert '<title id="title">a &lt; b</title>' in svg
    assert '<desc id="description">rises &amp; falls</desc>' in svg
    assert "cost in $ and $" in svg
    assert "<dc:date>" not in svg
    assert svg.count("<svg") == 1


def test_letters_are_large_enough_and_axes_open():
    with readable_letters():
        _, axes = new_axes(3, 2)
        assert axes.title.get_fontsize() >= LEAST_POINTS
    assert not axes.spines["top"].get_visible()
    assert not axes.spines["right"].get_visible()
    assert axes.spines["left"].get_visible()
