"""The settings of tiling, references and exports: the outermost values are taken, what lies beyond is refused."""

import pytest

from preprocessing.tiling.tiling_settings import ExportConfig, StainReferenceConfig, TilingConfig


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("mask_threshold", (0.001, 1), (0, 1.001, -0.5)),
        ("tile_um", (0.01,), (0, -1)),
        ("stride_um", (16.0, 256.0, 400.0), (15.9, 0)),
        ("tile_px", (8,), (7, 0)),
        ("min_tissue", (0, 1), (-0.01, 1.01)),
        ("stain", ("vahadane", "macenko", "reinhard", "none"), ("", "spcn")),
        ("timeout_s", (0.1,), (0, -1)),
        ("workers", (0, 1, None), (-1,)),
        ("mpp", ("0.5", "0.5,0.25"), ("x", "0.5,0.5,0.5")),
    ],
)
def test_tiling(name, taken, refused):
    for value in taken:
        assert getattr(TilingConfig(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"--{name}"):
            TilingConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [("format", ("jpeg", "png"), ("tiff",)), ("max_tiles", (1, None), (0, -1)), ("timeout_s", (0.1,), (0, -1))],
)
def test_exports(name, taken, refused):
    for value in taken:
        assert getattr(ExportConfig(**{name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"--{name}"):
            ExportConfig(**{name: value})


def test_references_are_of_one_choice_under_a_name():
    for given in ({}, {"where": "x"}, {"slides": "x"}):
        StainReferenceConfig(**given)
    with pytest.raises(ValueError, match="give --where or --slides, not both"):
        StainReferenceConfig(where="x", slides="y")
    with pytest.raises(ValueError, match="--name"):
        StainReferenceConfig(name="a/b")
