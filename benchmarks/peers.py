"""Other programs to compare with, in an environment of their own: what was had, and why the rest was not.

    python benchmarks/peers.py --folder DIR      # makes DIR/env, prints what is in it

Packages come from the package registry; where there is none, or a package does not fit, its rows say so. The environment sees the
project's packages (PyTorch, OpenSlide) behind its own, and the project's environment is not touched. Programs that are no packages
are taken from checkouts that an environment variable names: CLAM, and hs2p where it is not to be the released one (HS2P).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = {
    "torchstain": "torchstain",
    "pyvips": "pyvips[binary]",
    "hs2p": "hs2p",
    "tiatoolbox": "tiatoolbox",
    "cucim": "cucim-cu12",
}
OF_THE_PROJECT = ("torch", "torchvision", "triton")
INSTALL_S = 600
CHECKOUTS = ("CLAM", "HS2P", "TRIDENT", "STAMP")


@dataclass(frozen=True)
class Peers:
    """The peers' Python, and why a package is not there."""

    python: Path | None
    missing: dict[str, str] = field(default_factory=dict)

    def lacks(self, name: str) -> str:
        """Return why a package is not there; "" where it is."""
        return self.missing.get(name, "") if self.python is not None else "no environment of peers"


def checkout(name: str) -> Path | None:
    """Return the checkout that an environment variable names."""
    text = os.environ.get(name, "")
    return Path(text).resolve() if text and Path(text).is_dir() else None


def install(folder: Path) -> Peers:
    """Make the environment, or look at the one that is there."""
    python = folder / "env" / "bin" / "python"
    if not python.is_file():
        made = subprocess.run(
            [sys.executable, "-m", "venv", folder / "env"], capture_output=True, text=True, check=False
        )
        if made.returncode:
            return Peers(None)
        own = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
                             capture_output=True, text=True, check=True).stdout.strip()  # fmt: skip
        Path(own, "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    missing = {}
    for name, package in PACKAGES.items():
        if not _imports(python, name):
            continue
        why = _installed(python, package)
        _remove(python, OF_THE_PROJECT)
        if why := why or _imports(python, name):
            missing[name] = why
    return Peers(python, missing)


def _remove(python: Path, packages: Sequence[str]) -> None:
    """Take away what a package brought of what the project has: all compute by the same PyTorch, and disks stay free."""
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *packages], capture_output=True, check=False)


def look(folder: Path) -> Peers:
    """Return what is in the environment; nothing is installed."""
    python = folder / "env" / "bin" / "python"
    if not python.is_file():
        return Peers(None)
    return Peers(python, {name: why for name in PACKAGES if (why := _imports(python, name))})


def _imports(python: Path, name: str) -> str:
    """Return why a package cannot be imported; "" where it can."""
    try:
        done = subprocess.run(
            [python, "-c", f"import {name}"], capture_output=True, text=True, check=False, timeout=120
        )
    except subprocess.TimeoutExpired:
        return "its import takes over two minutes"
    lines = done.stderr.strip().splitlines() or ["it ends"]
    return "" if done.returncode == 0 else lines[-1][:160]


def _installed(python: Path, package: str) -> str:
    """Install a package; return why it could not be."""
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        return f"not installed within {INSTALL_S} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors or ["not installed"])[-1][:160]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    found = install(parser.parse_args().folder.resolve())
    for name in PACKAGES:
        print(f"{name}: {found.lacks(name) or 'there'}")
    for name in CHECKOUTS:
        print(f"{name}: {checkout(name) or 'no checkout; name one by the environment variable'}")


if __name__ == "__main__":
    main()
