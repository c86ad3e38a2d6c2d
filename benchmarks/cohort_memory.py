"""Peak memory of survival training against the number of patients: steps of 32 at risk together, and the exact gradient of all.

    python benchmarks/cohort_memory.py [--patients 100 300 1000] [--tiles 2000] [--json FILE]

Bags (tiles x 1,024, half precision) are made as they are read and are not held, so that only what training itself keeps is
measured: two epochs, then the loss that tells whether a head learnt. Each number of patients has a process of its own; its peak is
beside what it held before it trained.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from benchmarks.rows import add_json, record, write_rows

WIDTH, EPOCHS = 1024, 2
WAYS = {"steps of 32 at risk together": 32, "the exact gradient of all": 0}


def peak_mib() -> float:
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def train(n_patients: int, n_tiles: int, at_risk: int) -> tuple[float, float]:
    """Train on a cohort; return the peak before it and after it, MiB."""
    from mil.bags.bags import Bag
    from mil.tasks.registry import task_named
    from mil.training.fitting import fit
    from mil.training.task import FoldInputs
    from mil.training.time_to_event.survival_targets import SurvivalTargets
    from mil.training.training_settings import TrainConfig

    block = np.random.default_rng(0).standard_normal((n_tiles, WIDTH), dtype=np.float32).astype(np.float16)

    def read(patient: str) -> Bag:
        number = int(patient[1:])
        tiles = np.roll(block, number, axis=0)
        tiles[:, : 1 + number % 8] += np.float16(1)
        return Bag(
            patient_id=patient, slide_ids=("s",), tiles=tiles, slide_of_tile=np.zeros(n_tiles, np.int64),
            coords=np.zeros((0, 2), np.int64),
        )  # fmt: skip

    patients = [f"p{number:05d}" for number in range(n_patients)]
    targets = SurvivalTargets(
        times={patient: 1.0 + number % 8 for number, patient in enumerate(patients)},
        events={patient: int(number % 3 > 0) for number, patient in enumerate(patients)},
    )
    config = TrainConfig(threads=1, epochs=EPOCHS, risk_set_patients=at_risk)
    training = task_named("survival").training
    few = FoldInputs(read=read, train=patients[:16], val=(), targets=targets, config=config)
    fit(training, few, seed=[0])  # what is loaded once
    before = peak_mib()
    fit(training, FoldInputs(read=read, train=patients, val=(), targets=targets, config=config), seed=[0])
    return before, peak_mib()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--tiles", type=int, default=2000)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # this many at risk, in a process of its own
    add_json(parser)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(train(options.patients[0], options.tiles, options.one)))
        return
    for words, at_risk in WAYS.items():
        grown = {}
        for n_patients in options.patients:
            command = [
                sys.executable, __file__, "--patients", str(n_patients), "--tiles", str(options.tiles), "--one", str(at_risk),
            ]  # fmt: skip
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            before, after = json.loads(told)
            grown[n_patients] = after - before
            print(f"{words}: {n_patients:,} patients: {after:.0f} MiB at most, {after - before:.0f} above 16 patients")
        few, many = min(grown), max(grown)
        more = grown[many] - grown[few]
        record(
            "survival.memory", f"survival training, {words}: {few:,} to {many:,} patients of {options.tiles:,} tiles x {WIDTH:,}",
            f"{more:+.0f} MiB", against="limit: 256 MiB more", ratio=max(more, 0) / 256,
        )  # fmt: skip
    write_rows(options.json)


if __name__ == "__main__":
    main()
