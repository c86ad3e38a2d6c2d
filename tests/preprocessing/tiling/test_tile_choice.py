"""Which tiles are kept: tissue enough, readable, within the limits; each other one has its reason, and the slide its flags."""

import numpy as np
import pytest
from PIL import Image

from preprocessing.quality.measures import REASONS
from preprocessing.reading.slide import open_slide
from preprocessing.tiling import tile_choice
from preprocessing.tiling.tile_choice import choose_tiles
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.segmentation import Segmentation

PLAIN = TilingConfig(tile_um=50.0, quality=False, min_tiles=0)
LOOK = TilingConfig(tile_um=50.0, min_tiles=0)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide of 200 x 200 µm: of tiles of 100 x 50 px, four by four."""
    path = tmp_path_factory.mktemp("slide") / "s.png"
    Image.new("RGB", (400, 200)).save(path)
    with open_slide(path, mpp=(0.5, 1.0)) as opened:
        yield opened


def masks(**places):
    """Masks of the whole slide, 40 x 40; of each the rows and columns that are set."""
    made = {}
    for name in ("is_tissue", "is_ink", "is_dropped", "is_unreadable"):
        made[name] = np.zeros((40, 40), bool)
        if name in places:
            made[name][places[name]] = True
    return Segmentation(overview=np.zeros((40, 40, 3), np.uint8), mpp=5.0, glass=(240.0, 240.0, 240.0), **made)


ALL = np.s_[:, :]


def measured(monkeypatch, lost=(), **columns):
    """Have every tile measured as good, but for what is given by its number."""
    values = {"pen": 0, "fold": 0, "glass": 0, "blood": 0, "necrosis_like": 0, "sharpness": 3.0, "od": 0.5}
    asked = []

    def measure(_slide, coords, _masks, *, tile_um):
        asked.append(tile_um)
        made = {name: np.full(len(coords), value, np.float32) for name, value in values.items()}
        for name, own in columns.items():
            for number, value in own.items():
                made[name][number] = value
        is_lost = np.zeros(len(coords), bool)
        is_lost[list(lost)] = True
        return made, is_lost

    monkeypatch.setattr(tile_choice, "measure_slide", measure)
    return asked


def test_tiles_lie_on_both_scales_and_are_those_with_tissue(slide):
    chosen = choose_tiles(slide, masks(is_tissue=np.s_[:, :15]), PLAIN)
    assert sorted(map(tuple, chosen.coords.tolist())) == [(x, y) for x in (0, 100) for y in (0, 50, 100, 150)]
    assert chosen.tissue_fraction.tolist() == [1.0, 0.5] * 4
    assert (chosen.columns, chosen.flags) == ({}, ())
    assert chosen.exclusions.names == ("", *REASONS[1:], "unreadable")
    assert sum(chosen.exclusions.counts().values()) == 0
    overlapping = choose_tiles(slide, masks(is_tissue=ALL), TilingConfig(tile_um=50.0, stride_um=25.0, quality=False))
    assert len(overlapping.coords) == 7 * 7


def test_a_tile_that_touches_what_cannot_be_read_is_left_out_for_that_alone(slide, monkeypatch):
    chosen = choose_tiles(slide, masks(is_tissue=ALL, is_unreadable=np.s_[0:1, 9:11]), PLAIN)
    assert chosen.exclusions.coords.tolist() == [[0, 0], [100, 0]]
    assert {name: n for name, n in chosen.exclusions.counts().items() if n} == {"unreadable": 2}
    assert chosen.flags == ("unreadable 12%",)
    assert len(chosen.coords) == 14
    measured(monkeypatch, lost=[5, 6], pen={5: 0.9, 7: 0.9})
    chosen = choose_tiles(slide, masks(is_tissue=ALL, is_unreadable=np.s_[0:1, 0:1]), LOOK)
    assert {name: n for name, n in chosen.exclusions.counts().items() if n} == {"pen": 1, "unreadable": 3}
    assert chosen.flags[-1] == "unreadable 19%"
    assert len(chosen.columns["pen"]) == len(chosen.coords) == len(chosen.tissue_fraction) == 12
    assert chosen.columns["pen"].max() == 0


def test_the_limits_are_applied_where_a_closer_look_is_wanted(slide, monkeypatch):
    asked = measured(monkeypatch, sharpness={2: 0.1, 3: 0.2}, fold={4: 0.5})
    chosen = choose_tiles(slide, masks(is_tissue=ALL), LOOK)
    assert asked == [50.0]
    assert {name: n for name, n in chosen.exclusions.counts().items() if n} == {"blurred": 2}
    assert chosen.exclusions.coords.tolist() == [[200, 0], [300, 0]]
    assert len(choose_tiles(slide, masks(is_tissue=ALL), PLAIN).coords) == 16
    assert asked == [50.0]
    nothing = choose_tiles(slide, masks(), LOOK)
    assert (len(nothing.coords), nothing.columns) == (0, {})
    assert asked == [50.0]


@pytest.mark.parametrize(
    ("ink", "pen", "n_out"), [(np.s_[0:10, 0:2], 0.0, 1), (np.s_[0:10, 0:1], 0.0, 0), (np.s_[0:10, 0:1], 0.3, 1)]
)
def test_the_larger_of_measured_pen_and_found_ink_counts(slide, monkeypatch, ink, pen, n_out):
    """A tenth of a tile may be pen."""
    measured(monkeypatch, pen={0: pen})
    chosen = choose_tiles(slide, masks(is_tissue=ALL, is_ink=ink), LOOK)
    assert chosen.exclusions.counts()["pen"] == n_out
    if not n_out:
        assert chosen.columns["pen"][0] == pytest.approx(0.1)
    assert choose_tiles(slide, masks(is_tissue=ALL, is_ink=ink), PLAIN).columns == {}


def test_the_slides_share_of_ink_is_of_all_that_is_stained(slide, monkeypatch):
    measured(monkeypatch)
    chosen = choose_tiles(slide, masks(is_tissue=np.s_[20:, :], is_ink=np.s_[:5, :]), LOOK)
    assert chosen.flags[0] == "pen 20%"  # 5 rows of 5 and 20
    measured(monkeypatch)
    assert choose_tiles(slide, masks(is_tissue=ALL), LOOK).flags == ()
