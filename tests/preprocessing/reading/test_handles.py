"""What opens a slide: every reader keeps one contract, the table is tried in order, a new format is one entry."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.failures import SlideError
from preprocessing.reading import handles
from preprocessing.reading.handle import SlideHandle
from preprocessing.reading.handles import Opener, open_handle
from preprocessing.reading.slide import open_slide
from preprocessing.synthetic.scanner import write_pyramid

RGB = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)


def picture(path):
    Image.fromarray(RGB).save(path)


def pyramid(path):
    write_pyramid(path, np.tile(RGB, (6, 6, 1)), 0.5)


def strips(path):
    tifffile.imwrite(path, RGB, photometric="rgb", compression="deflate", rowsperstrip=16)


def on_its_side(path):
    tifffile.imwrite(path, RGB, photometric="rgb", tile=(32, 32), extratags=[(274, "H", 1, 6, True)], metadata=None)


KINDS = {  # file: how it is written, its reader, orientation, and smallest piece of level 0
    "picture.png": (picture, "Pillow", 1, (130, 90)),
    "pyramid.tif": (pyramid, "openslide generic-tiff", 1, (256, 256)),
    "strips.tif": (strips, "tifffile", 1, (130, 16)),
    "turned.tif": (on_its_side, "tifffile", 6, (32, 32)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_handle_keeps_the_contract(tmp_path, name):
    write, reader, orientation, piece = KINDS[name]
    write(tmp_path / name)
    handle = open_handle(tmp_path / name)
    assert isinstance(handle, SlideHandle)
    assert (handle.reader, handle.orientation, handle.piece_px(0)) == (reader, orientation, piece)
    assert handle.level_dimensions[0] == handle.dimensions
    assert handle.level_downsamples[0] == 1.0
    region = handle.read_region((-3, 0), 0, (20, 10))
    assert (region.mode, region.size) == ("RGBA", (20, 10))
    handle.close()


def test_a_refused_file_says_what_each_reader_said_and_nothing_twice(tmp_path):
    (tmp_path / "s.tif").write_text("no image")
    with pytest.raises(SlideError, match=r"no slide that OpenSlide .* knows; s\.tif is not readable as a TIFF"):
        open_handle(tmp_path / "s.tif")
    (tmp_path / "s.svs").write_text("no image")
    with pytest.raises(SlideError, match="no slide that OpenSlide") as error:
        open_handle(tmp_path / "s.svs")
    assert ";" not in error.value.reason
    assert "pyramidal TIFF" in error.value.remedy
    (tmp_path / "series").mkdir()
    with pytest.raises(SlideError) as error:
        open_handle(tmp_path / "series")
    assert error.value.reason == "series is a folder without .dcm files"


def test_a_new_format_is_one_entry_of_the_table(tmp_path, monkeypatch):
    class Square:
        reader, orientation, properties = "numpy", 1, {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}
        dimensions, level_dimensions, level_downsamples = (8, 8), ((8, 8),), (1.0,)
        remarks = ()

        def __init__(self, path):
            self.pixels = np.load(path)

        def piece_px(self, level):
            return self.dimensions

        def read_region(self, origin, level, size):
            return (
                Image.fromarray(self.pixels).convert("RGBA").crop((*origin, origin[0] + size[0], origin[1] + size[1]))
            )

        def close(self):
            pass

    np.save(tmp_path / "s.npy", RGB[:8, :8])
    entry = Opener("arrays", lambda path: path.suffix == ".npy", Square)
    monkeypatch.setattr(handles, "OPENERS", (entry, *handles.OPENERS))
    with open_slide(tmp_path / "s.npy") as slide:
        assert (slide.read_area((0, 0), (8, 8), (8, 8)) == RGB[:8, :8]).all()


def test_what_is_not_whole_is_no_handle():
    class Half:
        dimensions = (8, 8)

    assert not isinstance(Half(), SlideHandle)
