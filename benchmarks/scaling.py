"""How the cost of a patient and of a slide changes with how many there are, and with the number of workers.

    python benchmarks/scaling.py --folder DIR [--only patients|workers] [--json FILE]

Patients: an epoch of training, bags of 20 tiles, processor time of one thread. Workers: eight slides of 4,096 px tiled; the
processor time of all processes says what workers cost beside the work, the clock what they bring on this machine as it is.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from benchmarks.rows import add_json, record, write_rows

ROOT = Path(__file__).resolve().parents[1]
N_SLIDES, PATIENTS, WORKERS = 8, (30, 100, 300, 1000, 3000), (1, 2, 4)


def patients() -> None:
    import torch

    from benchmarks.mil_speed import N_CLASSES, bag_of, median_s, subtype_epoch
    from mil.training.training_settings import TrainConfig

    torch.set_num_threads(1)
    rng, first = np.random.default_rng(0), 0.0
    tiles = rng.normal(size=(20, 1024)).astype(np.float16)
    for n in PATIENTS:
        bags = {f"p{index:04d}": bag_of(f"p{index:04d}", tiles) for index in range(n)}
        names = sorted(bags)
        labels = {name: index % N_CLASSES for index, name in enumerate(names)}
        each = median_s(subtype_epoch(bags, names, labels, TrainConfig(threads=1).with_widths(128)), 3) / n * 1000
        first = first or each
        print(f"{n} patients: {each:.2f} ms a patient and epoch")
        record(
            "scaling.patients", f"an epoch of {n:,} patients, 20 tiles each", f"{each:.2f} ms of processor time a patient",
            against=f"{PATIENTS[0]} patients: {first:.2f} ms", ratio=each / first,
        )  # fmt: skip


def workers(folder: Path) -> None:
    from benchmarks.mosaic_slide import painted_cell, write_mosaic

    study = folder / "workers"
    (study / "slides").mkdir(parents=True, exist_ok=True)
    cell = None
    for number in range(N_SLIDES):
        path = study / "slides" / f"s{number}.tif"
        if not path.is_file():
            cell = painted_cell() if cell is None else cell
            write_mosaic(path, cell, np.ones((1, 1), bool), mpp=0.5)
    (study / "cohort.csv").write_text("patient_id,slide_id\n" + "".join(f"p{n},s{n}\n" for n in range(N_SLIDES)))
    first = (0.0, 0.0)
    for n in WORKERS:
        for path in (study / "tiles").rglob("*"):
            if path.is_file():
                path.unlink()
        command = [sys.executable, ROOT / "preprocessing" / "tile_slides.py", "--study", study, "--workers", str(n)]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, command
        clock, spent = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
        first = first if first[0] else (clock, spent)
        print(f"{n} workers: {clock:.1f} s by the clock, {spent:.1f} s of processor time")
        record(
            "scaling.workers", f"{N_SLIDES} slides of 4,096 px tiled by {n} worker(s)",
            f"{spent:.1f} s of processor time, {clock:.1f} s by the clock ({first[0] / clock:.2f} times one worker's speed)",
            against=f"1 worker: {first[1]:.1f} s", ratio=spent / first[1],
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", choices=("patients", "workers"))
    add_json(parser)
    arguments = parser.parse_args()
    if arguments.only != "workers":
        patients()
    if arguments.only != "patients":
        workers(arguments.folder.resolve())
    write_rows(arguments.json)


if __name__ == "__main__":
    main()
