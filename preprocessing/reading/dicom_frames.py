"""Frames of one DICOM file as 8-bit RGB: where each lies in the file, and what its compression and colours mean.

Pixel data are laid out as PS3.5 annex A.4 says: end to end where uncompressed, else as items, one or several a frame,
with an offset table or without one. Deep grey samples are shown through the stored window where there is one;
all others of more than 8 bits keep their 8 highest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from jaxtyping import Shaped, UInt8

PIXEL_DATA = 0x7FE00010
ITEM, END_OF_ITEMS = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
UNKNOWN_LENGTH = 0xFFFFFFFF
GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
UNCOMPRESSED = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
DEFLATED = "1.2.840.10008.1.2.1.99"  # the whole file is compressed, header and all
JPEG_12_BIT, JPEG_2000 = "1.2.840.10008.1.2.4.51", ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
CODECS = {  # of imagecodecs, for what pydicom decodes only with packages that are not ours
    JPEG_12_BIT: "jpeg8_decode",
    "1.2.840.10008.1.2.4.57": "jpegsof3_decode",
    "1.2.840.10008.1.2.4.70": "jpegsof3_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    **dict.fromkeys((*JPEG_2000, "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.203"), "jpeg2k_decode"),
}


@dataclass(frozen=True, kw_only=True)
class FrameKind:
    """What the header says of every frame. `window` is the stored values that are shown black and white."""

    syntax: str  # UID of the transfer syntax
    width: int
    height: int
    n_samples: int
    bits_allocated: int
    bits_stored: int
    photometric: str
    planar: int
    window: tuple[float, float] | None

    @property
    def n_bytes(self) -> int:
        """Bytes of an uncompressed frame."""
        n_values = self.width * self.height * self.n_samples
        return (n_values * 2 // 3 if self.photometric == "YBR_FULL_422" else n_values) * self.bits_allocated // 8


def frame_kind(header: Any, window: tuple[float, float] | None) -> FrameKind:
    """Read the kind off a header.

    Raises:
        ValueError: frames of this kind are not read; the message describes it.
    """
    n_samples, bits = int(header.SamplesPerPixel), int(header.BitsStored)
    kind = FrameKind(
        syntax=str(header.file_meta.TransferSyntaxUID), width=int(header.Columns), height=int(header.Rows),
        n_samples=n_samples, bits_allocated=int(header.BitsAllocated), bits_stored=bits,
        photometric=str(header.PhotometricInterpretation), planar=int(header.get("PlanarConfiguration", 0)),
        window=window,
    )  # fmt: skip
    is_known_colour = kind.photometric in {1: GREY, 3: COLOURS}.get(n_samples, ())
    is_known_depth = kind.bits_allocated in (8, 16) and 8 <= bits <= kind.bits_allocated
    is_plain = int(header.get("HighBit", bits - 1)) == bits - 1 and int(header.get("PixelRepresentation", 0)) == 0
    is_deep_jpeg = kind.syntax == JPEG_12_BIT and bits > 8 and n_samples > 1
    if not (is_known_colour and is_known_depth and is_plain) or is_deep_jpeg:
        signed = "" if int(header.get("PixelRepresentation", 0)) == 0 else " signed"
        raise ValueError(f"{kind.photometric}, {bits} of {kind.bits_allocated}{signed} bits, {n_samples} samples")
    if kind.width <= 0 or kind.height <= 0:
        raise ValueError(f"frames of {kind.width} x {kind.height} pixels")
    if not _has_decoder(kind):
        raise ValueError(f"transfer syntax {header.file_meta.TransferSyntaxUID.name}")
    return kind


def frame_spans(file: BinaryIO, header: Any, *, n_frames: int, kind: FrameKind) -> list[tuple[int, int]]:
    """Return first and last-plus-one byte of every frame; of compressed ones with the headers of their items.

    Args:
        file: the file, at the tag of the pixel data.
        header: what stands before.
        n_frames: number of frames.
        kind: their kind.

    Returns:
        One span a frame; fewer where the file ends before.

    Raises:
        ValueError: there are no pixel data, or the items cannot be told apart into frames.
    """
    syntax = header.file_meta.TransferSyntaxUID
    order: Literal["little", "big"] = "little" if syntax.is_little_endian else "big"
    tag = file.read(8 if syntax.is_implicit_VR else 12)
    group, element = int.from_bytes(tag[:2], order), int.from_bytes(tag[2:4], order)
    if (group << 16 | element) != PIXEL_DATA:
        raise ValueError("no pixel data of whole numbers")
    start = file.tell()
    if int.from_bytes(tag[-4:], order) != UNKNOWN_LENGTH:
        return [(start + index * kind.n_bytes, start + (index + 1) * kind.n_bytes) for index in range(n_frames)]
    table = _item(file)
    first = file.tell()
    offsets = _offsets(header, table or b"", n_frames)
    if offsets:
        return [(first + at, first + end if end else 0) for at, end in zip(offsets, [*offsets[1:], 0], strict=True)]
    return _scanned_spans(file, n_frames)


def read_frame(file: BinaryIO, span: tuple[int, int], kind: FrameKind) -> UInt8[np.ndarray, "h w 3"]:
    """Return a frame as 8-bit RGB. Decoders raise whatever broken bytes lead to."""
    from pydicom.pixels.processing import convert_color_space

    file.seek(span[0])
    is_plain = kind.syntax in UNCOMPRESSED
    content = file.read(span[1] - span[0]) if is_plain else _joined_items(file, span[1])
    if len(content) < (kind.n_bytes if is_plain else 1):
        raise ValueError(f"the file ends within it: {len(content)} bytes found")
    if _is_for_imagecodecs(kind):
        samples, photometric = _decoded_by_imagecodecs(content, kind), kind.photometric
    else:
        samples, photometric = _decoded_by_pydicom(content, kind)
    samples = samples.reshape(*samples.shape[:2], -1)
    if samples.shape != (kind.height, kind.width, kind.n_samples):
        raise ValueError(f"it decodes to {samples.shape}, not {(kind.height, kind.width, kind.n_samples)}")
    pixels = _as_8_bit(samples, kind)
    if photometric in {"YBR_FULL", "YBR_FULL_422"}:
        pixels = convert_color_space(pixels, "YBR_FULL", "RGB")
    if photometric == "MONOCHROME1":
        pixels = 255 - pixels
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _is_for_imagecodecs(kind: FrameKind) -> bool:
    is_eight_bit_elsewhere = kind.syntax in (JPEG_12_BIT, *JPEG_2000) and kind.bits_stored == 8
    return kind.syntax in CODECS and not is_eight_bit_elsewhere


def _has_decoder(kind: FrameKind) -> bool:
    from pydicom.pixels.decoders.base import get_decoder

    if kind.syntax in UNCOMPRESSED or _is_for_imagecodecs(kind):
        return True
    try:
        return bool(get_decoder(kind.syntax).is_available) and kind.syntax != DEFLATED
    except NotImplementedError:
        return False


def _offsets(header: Any, table: bytes, n_frames: int) -> Sequence[int]:
    """Return where frames begin after the table's item; empty where the file does not say so, or says nonsense."""
    extended = header.get("ExtendedOffsetTable")
    offsets = np.frombuffer(extended, "<u8") if extended else np.frombuffer(table[: len(table) // 4 * 4], "<u4")
    is_sound = len(offsets) == n_frames and offsets[0] == 0 and (np.diff(offsets.astype(np.int64)) > 0).all()
    return [int(offset) for offset in offsets] if is_sound else []


def _scanned_spans(file: BinaryIO, n_frames: int) -> list[tuple[int, int]]:
    spans = []
    at = file.tell()
    size = file.seek(0, 2)
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if head[:4] != ITEM:
            break
        spans.append((at, at + 8 + int.from_bytes(head[4:], "little")))
        at = spans[-1][1]
    if n_frames == 1 and spans:
        return [(spans[0][0], spans[-1][1])]
    if len(spans) > n_frames:
        raise ValueError(f"{len(spans)} items for {n_frames} frames and no offset table")
    return spans


def _item(file: BinaryIO) -> bytes | None:
    """Return the next item; None where there is none."""
    head = file.read(8)
    if head[:4] != ITEM:
        return None
    length = int.from_bytes(head[4:], "little")
    content = file.read(length)
    if len(content) < length:
        raise ValueError(f"the file ends within it: {len(content)} bytes of {length} found")
    return content


def _joined_items(file: BinaryIO, end: int) -> bytes:
    """Return the items up to a byte; up to the last where `end` is 0."""
    parts = []
    while not end or file.tell() < end:
        part = _item(file)
        if part is None:
            break
        parts.append(part)
    return b"".join(parts)


def _decoded_by_imagecodecs(content: bytes, kind: FrameKind) -> Shaped[np.ndarray, "*shape"]:
    import imagecodecs

    samples = np.asarray(getattr(imagecodecs, CODECS[kind.syntax])(content))
    if samples.shape == (kind.n_samples, kind.height, kind.width) and samples.ndim == 3:
        return samples.transpose(1, 2, 0)  # JPEG-LS stores colours one after the other, too
    return samples


def _decoded_by_pydicom(content: bytes, kind: FrameKind) -> tuple[Shaped[np.ndarray, "*shape"], str]:
    """Return samples and the colours they have become."""
    import warnings

    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    described: dict[str, Any] = {
        "number_of_frames": 1, "rows": kind.height, "columns": kind.width, "samples_per_pixel": kind.n_samples,
        "bits_allocated": kind.bits_allocated, "bits_stored": kind.bits_stored, "pixel_representation": 0,
        "photometric_interpretation": kind.photometric, "planar_configuration": kind.planar,
        "pixel_keyword": "PixelData",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the header's colours are not the codestream's; the latter are taken
        samples, decoded = get_decoder(kind.syntax).as_array(
            content if kind.syntax in UNCOMPRESSED else encapsulate([content]), index=0, **described
        )
    return samples, str(decoded["photometric_interpretation"])


def _as_8_bit(samples: Shaped[np.ndarray, "h w c"], kind: FrameKind) -> UInt8[np.ndarray, "h w c"]:
    if kind.bits_stored == 8:
        return samples.astype(np.uint8)
    if kind.window is None or kind.photometric not in GREY:
        return (samples >> (kind.bits_stored - 8)).astype(np.uint8)
    black, white = kind.window
    share = (samples - black) / (white - black) if white != black else (samples > black).astype(float)
    return np.floor(np.clip(share, 0, 1) * math.nextafter(256, 0)).astype(np.uint8)
