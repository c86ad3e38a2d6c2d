"""Files that are no slides although they lie where slides do: what each is, and what to do about it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from common.failures import SlideError

CONVERT = "convert it to pyramidal TIFF or DICOM with its scanner's software or Bio-Formats"
UNPACK, COPY_AGAIN = "unpack it", "copy or download it to its end, under its own name"
FORMATS = {  # ending to what it is; none of these is read
    ".vsi": "an Olympus VSI file", ".ets": "a part of an Olympus VSI file", ".jp2": "a JPEG 2000 file",
    ".j2k": "a JPEG 2000 file", ".jpx": "a JPEG 2000 file", ".jxl": "a JPEG XL file", ".isyntax": "a Philips iSyntax file",
    ".i2syntax": "a Philips iSyntax file", ".sdpc": "an SQS SDPC file", ".kfb": "a KFBio file", ".tmap": "an Unic TMAP file",
    ".mds": "a Motic file", ".mdsx": "a Motic file", ".zvi": "a Zeiss ZVI file", ".lif": "a Leica LIF file",
    ".nd2": "a Nikon ND2 file", ".oir": "an Olympus OIR file", ".bmp": "a Windows bitmap", ".gif": "a GIF picture",
    ".webp": "a WebP picture", ".heic": "a HEIC picture", ".pdf": "a PDF document", ".zarr": "a Zarr store",
}  # fmt: skip
ARCHIVES = frozenset({".zip", ".gz", ".tgz", ".tar", ".7z", ".rar", ".bz2", ".xz", ".zst"})
UNFINISHED = frozenset(
    {".part", ".partial", ".crdownload", ".download", ".filepart", ".tmp", ".temp", ".aria2", ".!ut"}
)
HEAD_BYTES = 4096
CONTENTS = (  # first bytes, what they begin, the ending it should have; "": none is read
    (b"\xff\xd8\xff", "a JPEG", ".jpg"), (b"\x89PNG", "a PNG", ".png"), (b"II*\0", "a TIFF", ".tif"),
    (b"MM\0*", "a TIFF", ".tif"), (b"II+\0", "a TIFF", ".tif"), (b"MM\0+", "a TIFF", ".tif"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 file", ""), (b"\xff\x4f\xff\x51", "a JPEG 2000 file", ""), (b"BM", "a Windows bitmap", ""),
    (b"GIF8", "a GIF picture", ""), (b"RIFF", "a WebP picture", ""), (b"%PDF", "a PDF document", ""),
)  # fmt: skip
PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")
WEB_PAGES = (b"<!doctype html", b"<html", b"<?xml")
POINTER = b"version https://git-lfs"
NO_TIFF = frozenset({".jpg", ".jpeg", ".png", ".dcm", ".mrxs", ".czi"})  # formats that are no TIFF inside
FAMILIES = {".jpg": {".jpg", ".jpeg", ".png"}, ".png": {".jpg", ".jpeg", ".png"}, ".dcm": {".dcm"}}  # that are read


def one_spelling(text: str) -> str:
    """Return a name with its letters composed (NFC): a disk may hold é as one sign or as two, which look alike."""
    return unicodedata.normalize("NFC", text)


def what_is_unread(name: str) -> tuple[str, str]:
    """Return what a file is by its ending, which is no slide's, and what to do."""
    ending = Path(name).suffix.lower()
    if ending in FORMATS:
        return f"{FORMATS[ending]}, which is not read", CONVERT
    if ending in ARCHIVES:
        return "an archive", UNPACK
    if ending in UNFINISHED:
        return "a copy that did not end", COPY_AGAIN
    what = f"of the ending {ending}, which is not read" if ending else "without an ending"
    return what, "give it the ending of its format, or convert it to pyramidal TIFF or DICOM"


def unlike_its_name(path: Path) -> SlideError | None:
    """Return what a file is by its content where its ending says otherwise; None where nothing tells.

    To be asked of a file that could not be opened: what readers say of it is of no help then.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return None
    ending = path.suffix.lower()
    if not head.strip(b"\0"):
        what = "is empty" if not head else "begins with zeros only"
        return SlideError(f"{path.name} {what}: its copy did not end", COPY_AGAIN)
    if head.startswith(PACKED):
        return SlideError(f"{path.name} is an archive by its content", UNPACK)
    if head.lstrip().lower().startswith(WEB_PAGES) or head.startswith(POINTER):
        return SlideError(f"{path.name} is a text by its content; what was fetched is not the slide", "fetch it again")
    found = [("a DICOM file", ".dcm")] if head[128:132] == b"DICM" else []
    found += [(what, better) for start, what, better in CONTENTS if head.startswith(start)]
    if not found or ending in FAMILIES.get(found[0][1], set()) or (found[0][1] == ".tif" and ending not in NO_TIFF):
        return None
    what, better = found[0]
    remedy = f"rename it to {path.stem}{better}" if better else CONVERT
    return SlideError(f"{path.name} is {what} by its content, and called {ending or 'nothing'}", remedy)
