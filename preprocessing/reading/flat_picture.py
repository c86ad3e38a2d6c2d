"""PNG and JPEG in OpenSlide's shape, decoded whole and so limited in size, and what all flat readers share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped, UInt8

from common.failures import SlideError
from common.files import pass_disk_fault

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg"})
MAX_WHOLE_PX = 250_000_000  # decoded in one piece: 1 GB
SENSOR_BITS = (8, 10, 12, 14, 16)
PNG_SIGN, PNG_DEPTH_AT = b"\x89PNG", 24
CONVERT_REMEDY = "save it as 8-bit RGB, best as a tiled pyramidal TIFF"
RECOPY_REMEDY = "the file is damaged or truncated; copy or scan it again"


@dataclass(frozen=True)
class StoredBits:
    """How many bits of the samples are in use, and what says so; "" where they are all."""

    n_bits: int
    reason: str = ""


def bits_in_use(brightest: int, stated: Sequence[tuple[str, int]] = ()) -> StoredBits:
    """Return how many of 16 bits samples use.

    Args:
        brightest: of the samples looked at; 0 where nothing is known of them.
        stated: what the file says is the largest value, each with the name of what says so.
    """
    for source, value in stated:
        if 255 <= value < 2**16 - 1 and brightest <= value:
            return StoredBits(value.bit_length(), f"{source} says so")
    n_bits = next(bits for bits in SENSOR_BITS if brightest < 2**bits) if brightest else 16
    return StoredBits(n_bits, f"the brightest is {brightest}" if n_bits < 16 else "")


def to_8_bits(samples: Shaped[np.ndarray, "*shape"], bits: StoredBits) -> UInt8[np.ndarray, "*shape"]:
    """Return the 8 highest of the bits in use.

    Raises:
        ValueError: a sample is brighter than they can be.
    """
    brightest = int(samples.max(initial=0))
    if brightest >= 2**bits.n_bits:
        raise ValueError(f"a sample of {brightest}, and {bits.n_bits} bits are in use: {bits.reason}")
    return (samples >> (bits.n_bits - 8)).astype(np.uint8)


def remark_on(bits: StoredBits) -> tuple[str, ...]:
    """Return a line on samples that do not use all their bits; none where they do."""
    if not bits.reason:
        return ()
    return (f"its samples of 16 bits use {bits.n_bits} ({bits.reason}): {2**bits.n_bits - 1} is taken for white",)


class FlatPicture:
    """A PNG or JPEG file, decoded whole at the first read; turned upright as its EXIF says. It bears no scale."""

    reader, orientation = "Pillow", 1

    def __init__(self, path: Path) -> None:
        from PIL import UnidentifiedImageError

        self._path = path
        try:
            with without_pixel_limit(), _opened_picture(path) as file:
                is_small = math.prod(file.size) <= MAX_WHOLE_PX  # to know how a PNG lies, it is decoded
                lies_on_its_side = is_small and file.getexif().get(0x0112, 1) >= 5
                self.dimensions = file.size[::-1] if lies_on_its_side else file.size
        except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
            pass_disk_fault(error)
            raise SlideError(f"{path.name} is not readable as an image ({error})", RECOPY_REMEDY) from error
        if self.dimensions[0] * self.dimensions[1] > MAX_WHOLE_PX:
            raise SlideError(
                f"{path.name} has {self.dimensions[0]} x {self.dimensions[1]} pixels; PNG and JPEG can only be "
                f"decoded whole, up to {MAX_WHOLE_PX:,}",
                CONVERT_REMEDY,
            )
        self.properties: Mapping[str, str] = {}
        self.remarks: tuple[str, ...] = ()
        if _is_deep_png(path):
            state = path.stat()
            self.remarks = remark_on(_decoded_picture(path, state.st_size, state.st_mtime_ns)[1])
        self.level_dimensions, self.level_downsamples = (self.dimensions,), (1.0,)

    def piece_px(self, level: int) -> tuple[int, int]:
        """Return width and height of the whole."""
        assert level == 0
        return self.dimensions

    def read_region(self, origin: tuple[int, int], level: int, size: tuple[int, int]) -> Image:
        """Return an RGBA image of the area; what lies off the image is transparent."""
        from PIL.Image import fromarray, new

        assert level == 0
        state = self._path.stat()
        pixels, _ = _decoded_picture(self._path, state.st_size, state.st_mtime_ns)
        x0, y0, x1, y1 = overlap(origin, size, self.dimensions)
        canvas = new("RGBA", size)
        if x1 > x0 and y1 > y0:
            part = fromarray(pixels[y0:y1, x0:x1]).convert("RGBA")
            canvas.paste(part, (x0 - origin[0], y0 - origin[1]))
        return canvas

    def close(self) -> None:
        """Nothing is open between reads."""


@lru_cache(maxsize=1)  # tiles of one image are read in several calls; size and time make a changed file another
def _decoded_picture(path: Path, _size: int, _time: int) -> tuple[UInt8[np.ndarray, "h w 3"], StoredBits]:
    from PIL import ImageOps

    try:
        with without_pixel_limit(), _opened_picture(path) as file:
            image, bits = _deep_picture(path, file) if _is_deep_png(path) else (file, StoredBits(8))
            return rgb_pixels(ImageOps.exif_transpose(image)), bits
    except (OSError, ValueError, SyntaxError, RuntimeError) as error:  # the last of imagecodecs
        pass_disk_fault(error)
        raise SlideError(f"{path.name} cannot be decoded ({error})", RECOPY_REMEDY) from error


def _is_deep_png(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(PNG_DEPTH_AT + 1)
    return head.startswith(PNG_SIGN) and head[PNG_DEPTH_AT:] == b"\x10"


def _deep_picture(path: Path, file: Image) -> tuple[Image, StoredBits]:
    """Return a PNG of 16 bits as 8 bits, of which Pillow would take the highest whether they are in use or not."""
    import imagecodecs
    from PIL.Image import fromarray

    samples = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    bits = bits_in_use(int(samples.max(initial=0)))
    image = fromarray(to_8_bits(samples, bits))
    image.info = {name: file.info[name] for name in ("exif",) if name in file.info}
    return image, bits


def rgb_pixels(image: Any) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a Pillow image: of 16-bit grey the high byte, what is transparent on white."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits of grey
        grey = np.asarray(image).astype(np.uint32)
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _opened_picture(path: Path) -> Any:
    from PIL import Image

    return Image.open(path, formats=("PNG", "JPEG"))


class without_pixel_limit:  # noqa: N801
    """Pillow warns above 89 million pixels; the limit here is `MAX_WHOLE_PX`."""

    def __enter__(self) -> None:
        from PIL import Image

        self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None

    def __exit__(self, *_: object) -> None:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = self._limit


def overlap(origin: tuple[int, int], size: tuple[int, int], dimensions: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part of an area that lies on the image."""
    x0, y0 = max(0, origin[0]), max(0, origin[1])
    return x0, y0, min(dimensions[0], origin[0] + size[0]), min(dimensions[1], origin[1] + size[1])
