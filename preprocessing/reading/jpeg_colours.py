"""What a JPEG stream itself says of its colours: red, green, blue or luma with two of chroma, whatever stands around it."""

from __future__ import annotations

from typing import Literal

RGB_IDS = (ord("R"), ord("G"), ord("B"))
JFIF, ADOBE, SCAN = 0xE0, 0xEE, 0xDA
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # start of frame, of any process

Colours = Literal["RGB", "YCBCR"]


def colours_of_jpeg(stream: bytes, *, trust_jfif: bool) -> tuple[Colours, str] | None:
    """Return the colours of a stream of three components and what tells them; None where nothing in it does.

    Adobe's marker, the names of components and chroma of fewer samples are certain. JFIF means luma and chroma, but TIFF
    writers leave its marker in streams of RGB.

    Args:
        stream: it may be cut off after the headers.
        trust_jfif: take a JFIF marker for a proof.
    """
    has_jfif, transform = False, None
    for marker, content in _segments(stream):
        if marker == JFIF and content[:5] == b"JFIF\0":
            has_jfif = True
        elif marker == ADOBE and content[:5] == b"Adobe" and len(content) >= 12:
            transform = content[11]
        elif marker in FRAMES and len(content) >= 15 and content[5] == 3:
            ids, sampling = tuple(content[6:15:3]), content[7:15:3]
            if len(set(sampling)) > 1:
                return "YCBCR", "its chroma has fewer samples"
            if transform is not None:
                return ("RGB" if transform == 0 else "YCBCR"), "Adobe's marker"
            if ids == RGB_IDS:
                return "RGB", "its components' names"
            return ("YCBCR", "its JFIF marker") if has_jfif and trust_jfif else None
    return None


def _segments(stream: bytes) -> list[tuple[int, bytes]]:
    """Return marker and content of the headers, up to the scan."""
    segments, at = [], 2
    while stream[:2] == b"\xff\xd8" and at + 4 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != SCAN:
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        segments.append((stream[at + 1], stream[at + 4 : at + 2 + length]))
        at += 2 + max(length, 2)
    return segments
