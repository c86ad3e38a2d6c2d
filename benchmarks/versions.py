"""The oldest and the newest versions that pyproject.toml allows, for each Python: an environment each, and the quick tests in it.

    python benchmarks/versions.py --python 3.11 --resolution lowest-direct
    python benchmarks/versions.py --keep /tmp/versions -- --no-cache      # what stands behind -- goes to uv pip install

Needs uv, and the Pythons themselves: one that is not found is told as not measured. An environment takes some 7 GB while it is
tested, and is removed afterwards. The tools of development are the newest in both: it is the product's bounds that are tested.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS, RESOLUTIONS = ("3.11", "3.12", "3.13"), ("lowest-direct", "highest")
QUICK = "not slow and not browser and not gpu and not real_data"
SHOWN = ("torch", "numpy", "pandas", "openvino", "timm", "h5py")
ASK = f"from importlib.metadata import version; print(', '.join(f'{{name}} {{version(name)}}' for name in {SHOWN!r}))"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=list(PYTHONS))
    parser.add_argument("--resolution", nargs="+", default=list(RESOLUTIONS), choices=RESOLUTIONS)
    parser.add_argument("--tests", nargs="+", default=["tests"], help="which of them; only the quick ones are run")
    parser.add_argument("--keep", type=Path, help="folder where the environments stay")
    parser.add_argument("uv", nargs="*", help="further options of uv pip install, behind --")
    options = parser.parse_args()
    if shutil.which("uv") is None:
        print("no uv: pip install uv, or set it up as its own pages say", file=sys.stderr)
        return 2
    results = [measure(python, resolution, options) for python in options.python for resolution in options.resolution]
    print("\n" + "\n".join(f"Python {python:5s} {resolution:14s} {what}" for python, resolution, what in results))
    return int(any(what.startswith("FAILED") for _, _, what in results))


def measure(python: str, resolution: str, options: argparse.Namespace) -> tuple[str, str, str]:
    print(f"\nPython {python}, {resolution}", flush=True)
    with environment(options.keep, f"{python}-{resolution}") as folder:
        own = folder / "bin" / "python"
        if call("uv", "venv", "--quiet", "--no-project", "--clear", "--python", python, folder):
            return python, resolution, "not measured: uv finds no such Python here"
        start = time.monotonic()
        install = ("uv", "pip", "install", "--quiet", "--python", own, *options.uv)
        if call(*install, "--resolution", resolution, "-e", ".") or call(*install, "-e", ".[dev]"):
            return python, resolution, "FAILED: the packages cannot be installed together, as uv says above"
        seconds = time.monotonic() - start
        versions = subprocess.run(
            [own, "-c", ASK], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        print(f"installed in {seconds:.0f} s: {versions}", flush=True)
        code = call(own, "-m", "pytest", "-m", QUICK, "--durations=0", "-p", "no:cacheprovider", *options.tests)
        return python, resolution, f"{'FAILED' if code else 'passed'}, {versions}"


def call(*words: object) -> int:
    return subprocess.run([str(word) for word in words], cwd=ROOT, check=False).returncode


@contextlib.contextmanager
def environment(keep: Path | None, name: str) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep / name
        return
    with tempfile.TemporaryDirectory(prefix="versions-") as folder:
        yield Path(folder) / name


if __name__ == "__main__":
    sys.exit(main())
