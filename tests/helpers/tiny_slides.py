"""A study of tiny slides that runs from tiling to training in seconds, the commands for it, and what tells who made what."""

import filecmp
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).resolve().parents[2]
SIDE_PX, MPP = 320, 2.0
ENCODER = "tests.helpers.tiny_slides:tiny_encoder"
TILE = ("preprocessing/tile_slides.py", "--tile_um", "128", "--tile_px", "64", "--stain", "none")
EXTRACT = ("features/extract_features.py", "--encoder", ENCODER, "--workers", "1", "--device", "cpu", "--threads", "1")
SPLIT = ("splits/make_splits.py", "--folds", "2")
TRAIN = (
    "mil/train.py", "--encoder", ENCODER, "--epochs", "4", "--hidden", "8", "--attention", "4", "--bootstrap", "100",
    "--threads", "1", "--cross_fit", "2",
)  # fmt: skip
EXPLAIN = ("mil/explain.py", "--task", "subtype")
PREDICT = ("mil/predict.py", "--device", "cpu", "--threads", "1", "--workers", "1", "--bootstrap", "100")
# runs a script in this process and writes a line for each slide or fold that it makes, not for those it finds
LOGGED = """
import importlib, sys
from pathlib import Path
log, place, slow, script, *flags = sys.argv[1:]
def followed(module, name, told):
    import time
    module, own = importlib.import_module(module), None
    own = getattr(module, name)
    def wrapped(*args, **more):
        with open(log, "a") as file:
            file.write(told(args, more) + "\\n")
        time.sleep(float(slow))
        return own(*args, **more)
    setattr(module, name, wrapped)
module, _, name = place.rpartition(".")
followed(module, name, {"tile_open_slide": lambda args, more: args[2].slide_id,
                        "write_logged_bag": lambda args, more: more["slide_id"],
                        "train_fold": lambda args, more: args[0].stem}[name])
sys.exit(importlib.import_module(script).main(flags))
"""


def make_tiny_study(study: Path, n_slides: int = 12) -> Path:
    """Write tiny slides of two subtypes that differ in colour, one slide a patient."""
    (study / "slides").mkdir(parents=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    is_tissue = ((x - SIDE_PX / 2) ** 2 + (y - SIDE_PX / 2) ** 2 < (0.4 * SIDE_PX) ** 2)[..., None]
    for number in range(n_slides):
        colour = np.array([185.0, 110, 170]) if number % 2 else np.array([150.0, 100, 190])
        pixels = np.where(is_tissue, colour + rng.normal(0, 25, (SIDE_PX, SIDE_PX, 1)), 244.0)
        tifffile.imwrite(
            study / "slides" / f"S{number:02d}.tif", np.clip(pixels, 0, 255).astype(np.uint8), photometric="rgb", tile=(160, 160),
            compression="deflate", resolution=(1e4 / MPP, 1e4 / MPP), resolutionunit="CENTIMETER", metadata=None,
        )  # fmt: skip
    rows = [f"P{number:02d},S{number:02d},{('LMS', 'UPS')[number % 2]}" for number in range(n_slides)]
    (study / "cohort.csv").write_text("patient_id,slide_id,subtype\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return study


def tiny_encoder() -> object:
    """Return an encoder that costs next to nothing: a tile's mean colour."""
    import torch

    from features.encoder.card import EncoderCard

    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    return EncoderCard(name=ENCODER, source="", dimension=3, licence="none", build=build, weights="own", mpp=None)


def started(*command: object) -> subprocess.Popen:
    """Start a script, or Python's own flags."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip


def ended(process: subprocess.Popen, timeout_s: float = 300) -> tuple[int, str]:
    """Wait for a script; return its exit code and what it printed."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out + err


def run(*command: object, code: int = 0) -> str:
    """Run a script to its end and return what it printed."""
    found, told = ended(started(*command))
    assert found == code, told
    return told


def logged(log: Path, place: str, command: tuple[str, ...], *flags: object, slow_s: float = 0.0) -> subprocess.Popen:
    """Start a script that logs what it makes by the function at `place`."""
    script, *own = command
    return started("-c", LOGGED, log, place, slow_s, script.removesuffix(".py").replace("/", "."), *own, *flags)


def difference(one: Path, other: Path, part: str = "") -> list[str]:
    """Return the files that two studies do not have alike, to the byte, dot files too."""
    own = [{path.relative_to(study) for path in (study / part).rglob("*") if path.is_file()} for study in (one, other)]
    lone = own[0] ^ own[1]
    unlike = [path for path in own[0] & own[1] if not filecmp.cmp(one / path, other / path, shallow=False)]
    return sorted(str(path) for path in {*lone, *unlike})
