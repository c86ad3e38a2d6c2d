"""What tells that the program is another than the one that made a result: its own files, and what it computes with."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("common", "preprocessing", "features", "splits", "mil")
LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "timm",
    "openvino",
    "openslide-python",
    "opencv-python-headless",
)


@cache
def code_sha256() -> str:
    """Return a sha256 over the project's modules and pages, and the versions of the libraries that decide numbers."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".html", ".css", ".js"):
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    for library in LIBRARIES:
        try:
            digest.update(f"{library} {version(library)};".encode())
        except PackageNotFoundError:
            digest.update(f"{library} missing;".encode())
    return digest.hexdigest()
