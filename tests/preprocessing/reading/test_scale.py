"""Scales: the table wins over the flag, the flag over the file; what is no scale is named with its remedy."""

import math

import numpy as np
import pytest
import tifffile

from common.failures import SlideError
from preprocessing.reading.scale import (
    MPP_PROPERTIES,
    check_scale,
    file_scale,
    given_scale,
    is_plausible,
    ome_scale,
    parse_scale,
)
from preprocessing.reading.slide import open_slide


def test_the_flag_is_one_number_or_two():
    assert parse_scale("0.5") == (0.5, 0.5)
    assert parse_scale("0.5, 0.25") == (0.5, 0.25)


@pytest.mark.parametrize("text", ["", "half", "0", "0.5,", "0.5,0.5,0.5", "nan", "inf", "1000", "0.5,20", "-0.5"])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"0\.5,0\.25"):
        parse_scale(text)


def test_the_table_wins_over_the_flag():
    nan, flag = math.nan, (0.3, 0.3)
    assert given_scale({"mpp": 0.5}, flag) == ((0.5, 0.5), "cohort table")
    assert given_scale({"mpp_x": 0.5, "mpp_y": 0.25, "mpp": nan}, flag) == ((0.5, 0.25), "cohort table")
    assert given_scale({"mpp_x": nan, "mpp_y": nan, "mpp": 0.5}, flag) == ((0.5, 0.5), "cohort table")
    assert given_scale({"mpp_x": nan, "mpp_y": nan}, flag) == (flag, "--mpp")
    assert given_scale({"mpp": None}, flag) == (flag, "--mpp")
    assert given_scale({}, None) is None


@pytest.mark.parametrize("text", ["garbage", "", "0,5,5"])
def test_text_in_the_header_that_is_no_number_is_named(text):
    with pytest.raises(SlideError, match="no number") as error:
        file_scale(dict.fromkeys(MPP_PROPERTIES, text))
    assert "--mpp" in error.value.remedy
    with pytest.raises(SlideError, match="does not say"):
        file_scale({MPP_PROPERTIES[0]: "0.5"})


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, 0.049, 10.01, 352.8])
def test_a_scale_no_microscope_has_is_named_with_its_axis(value):
    with pytest.raises(SlideError, match=r"mpp on y .*\(file\), outside 0\.05 to 10"):
        check_scale((0.5, value), "file")


OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels SizeX="{width}" SizeY="{height}" '
    'SizeC="3" PhysicalSizeX="{x}" PhysicalSizeXUnit="{unit}" PhysicalSizeY="{y}" PhysicalSizeYUnit="{unit}"/></Image></OME>'
)


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize(
    ("unit", "x", "y"), [("µm", 0.5, 0.25), ("nm", 500, 250), ("mm", 0.0005, 0.00025), (None, 0.5, 0.25)]
)
def test_r5_physical_sizes_of_ome_are_read(tmp_path, tile, unit, x, y):
    text = OME.format(width=256, height=128, x=x, y=y, unit=unit)
    if unit is None:
        text = text.replace(' PhysicalSizeXUnit="None"', "").replace(' PhysicalSizeYUnit="None"', "")
    pixels = np.full((128, 256, 3), 200, np.uint8)
    tifffile.imwrite(
        tmp_path / "s.ome.tif", pixels, photometric="rgb", tile=tile, description=text.encode(), metadata=None
    )
    with open_slide(tmp_path / "s.ome.tif") as slide:
        assert (slide.mpp_x, slide.mpp_y) == (pytest.approx(0.5), pytest.approx(0.25))


def test_r5_of_several_images_the_slide_counts_and_units_without_a_length_do_not():
    macro = OME.format(width=40, height=30, x=8, y=8, unit="µm")
    assert ome_scale(macro + OME.format(width=256, height=128, x=1, y=2, unit="µm"), (256, 128)) == (1.0, 2.0)
    assert ome_scale(macro, (256, 128)) is None
    assert ome_scale(OME.format(width=256, height=128, x=1, y=2, unit="pixel"), (256, 128)) is None
    assert ome_scale(OME.format(width=256, height=128, x="x", y=2, unit="µm"), (256, 128)) is None


def test_v10_both_bounds_of_a_scale_are_scales():
    assert [is_plausible(mpp) for mpp in (0.0499, 0.05, 10.0, 10.01)] == [False, True, True, False]
    assert parse_scale("0.05,10") == (0.05, 10.0)
