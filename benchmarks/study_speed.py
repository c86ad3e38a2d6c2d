"""A whole training as users start it: minutes of a study by the default recipe, and what two at once cost each other.

    python benchmarks/study_speed.py DIR [--patients 250] [--tiles 4000] [--repeats 3] [--json FILE]
    python benchmarks/study_speed.py DIR --two --patients 60 --tiles 1000 --repeats 1

Features of noise (log-normal bags) are written into DIR and kept; the class shifts a few numbers of a tenth of the tiles. Loading,
inner folds, baselines, evaluation and report are part of the time. With --two: one training by itself, then two at the same
moment, in runs of different names, by the clock.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from benchmarks.rows import add_json, record, write_rows

ROOT = Path(__file__).resolve().parents[1]
N_INPUTS, SUBTYPES, LIMIT_MIN, AT_ONCE = 1280, ("DDLPS", "LMS", "MFS", "SS", "UPS"), 15.0, 2
ENCODER = "efficientnet_lite0"


def make_study(folder: Path, n_patients: int, mean_tiles: int, n_repeats: int) -> Path:
    """Write cohort, features and folds; what is there stays."""
    from features.store.feature_store import FeatureBag, write_feature_bag

    made_by = {
        "encoder": ENCODER, "weights_sha256": "0", "licence": "none", "transform": "none", "stain": "none",
        "stain_reference": "none", "tile_um": 256.0, "tile_px": 256, "runtime": "none", "precision": "float32",
    }  # fmt: skip
    study = folder / f"{n_patients}x{mean_tiles}"
    (study / "features" / ENCODER).mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(n_patients):
        rng, kind = np.random.default_rng([7, number]), number % len(SUBTYPES)
        rows.append(f"P{number:03d},S{number:03d},{SUBTYPES[kind]}")
        path = study / "features" / ENCODER / f"S{number:03d}.h5"
        n_tiles = max(20, round(mean_tiles * float(rng.lognormal(-0.18, 0.6))))
        if path.is_file():
            continue
        features = rng.standard_normal((n_tiles, N_INPUTS), dtype=np.float32)
        features[: n_tiles // 10, 8 * kind : 8 * kind + 8] += 1.0
        bag = FeatureBag(
            slide_id=f"S{number:03d}", features=features.astype(np.float16), coords=np.zeros((n_tiles, 2), np.int64),
            unreadable=np.empty(0, np.int64), attributes=made_by,
        )  # fmt: skip
        write_feature_bag(path, bag)
    (study / "cohort.csv").write_text("patient_id,slide_id,subtype\n" + "\n".join(rows) + "\n", encoding="utf-8")
    command = [sys.executable, ROOT / "splits" / "make_splits.py", "--study", study, "--repeats", str(n_repeats)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return study


def train(study: Path, *names: str) -> float:
    """Train runs at the same moment; return the seconds until all have ended."""
    for name in names:
        shutil.rmtree(study / "runs" / "subtype" / name, ignore_errors=True)
    own = [sys.executable, str(ROOT / "mil" / "train.py"), "--study", str(study), "--task", "subtype"]
    start = time.perf_counter()
    processes = [subprocess.Popen([*own, "--name", name], stdout=subprocess.DEVNULL) for name in names]
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit(f"a training ended with code {max(codes)}")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--patients", type=int, default=250)
    parser.add_argument("--tiles", type=int, default=4000, help="mean of a patient")
    parser.add_argument("--repeats", type=int, default=3, help="of five folds")
    parser.add_argument("--two", action="store_true", help="two trainings at once, too")
    add_json(parser)
    options = parser.parse_args()
    study = make_study(options.folder, options.patients, options.tiles, options.repeats)
    alone = train(study, "alone")
    words = f"{options.patients} patients, mean {options.tiles:,} tiles x {N_INPUTS:,}, 5 folds x {options.repeats}"
    print(f"{words}: {alone / 60:.1f} min by the clock")
    if not options.two:
        record(
            "training.study", f"a training from features to the report: {words}", f"{alone / 60:.1f} min",
            against=f"limit: {LIMIT_MIN:.0f} min", ratio=alone / 60 / LIMIT_MIN,
        )  # fmt: skip
    else:
        both = train(study, *(f"beside{number}" for number in range(AT_ONCE)))
        print(f"two at once: {both / 60:.1f} min = {both / alone:.2f}")
        record(
            "training.two", f"two trainings at once: {words}", f"{both:.0f} s by the clock",
            against=f"one alone: {alone:.0f} s", ratio=both / alone,
        )  # fmt: skip
    write_rows(options.json)


if __name__ == "__main__":
    main()
