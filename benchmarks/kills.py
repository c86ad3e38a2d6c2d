"""Kills at random moments: every step is killed, parents and workers, and run again; the bytes must be those of a quiet run.

    python benchmarks/kills.py --kills 40 --seed 1

A small painted study (one slide a patient, large tiles) goes through every step once, undisturbed; that takes its time and
leaves its bytes. Then each step is started anew on an empty output and killed at a moment drawn between its start and the
longest time it has taken so far (on a busy machine that grows): by turns the whole group of processes, the parent alone, or one
worker alone. Rerun until it ends with 0, the files must be the same bytes, and nothing of it may be left in /dev/shm. Python's
own tracker of shared memory is no worker: killed, its successor prints KeyErrors of its own, and the step goes on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

ROOT = Path(__file__).resolve().parents[1]
SHARED_MEMORY = Path("/dev/shm")
PAINTED = ("--patients", "10", "--seed", "11")  # what all other steps work on
DEMO = ("--patients", "1", "--seed", "11")  # painted anew at every kill
FAST = ("--hidden", "32", "--bootstrap", "100", "--epochs")  # enough of these to learn at all: else the run is refused
LIMIT_S = 600


@dataclass(frozen=True)
class Step:
    """A script with its flags, and the paths below the study that it makes."""

    name: str
    script: str
    flags: tuple[str, ...]
    makes: tuple[str, ...]
    folder: str = "study"


STEPS = (
    Step("make_demo_study", "preprocessing/make_demo_study.py", DEMO, ("slides", "truth", "cohort.csv"), "painted"),
    Step("tile_slides", "preprocessing/tile_slides.py", ("--tile_um", "512"), ("tiles",)),
    Step("make_stain_reference", "preprocessing/make_stain_reference.py", (), ("stain_references",)),
    Step("export_tiles", "preprocessing/export_tiles.py", ("--out", "{study}/exported", "--max_tiles", "20"), ("exported",)),
    Step("extract_features", "features/extract_features.py", (), ("features",)),
    Step("convert_features", "features/convert_features.py", ("--to", "clam", "--out", "{study}/clam"), ("clam",)),
    Step("make_splits", "splits/make_splits.py", ("--folds", "2"), ("splits",)),
    Step("train subtype", "mil/train.py", ("--task", "subtype", *FAST, "3"), ("runs/subtype",)),
    Step("train survival", "mil/train.py", ("--task", "survival", *FAST, "10", "--cross_fit", "0"), ("runs/survival",)),
    Step("evaluate", "mil/evaluate.py", ("--task", "subtype", "--bootstrap", "100"), ("runs/subtype",)),
    Step("explain", "mil/explain.py", ("--task", "subtype", "--out", "{study}/explained"), ("explained",)),
    Step("predict", "mil/predict.py", ("--slides", "{study}/slides", "--out", "{study}/predicted", "--bootstrap", "100"),
         ("predicted",)),
)  # fmt: skip


def make_study(study: Path) -> None:
    """Paint a study and keep the first slide of each patient."""
    script = str(ROOT / "preprocessing" / "make_demo_study.py")
    subprocess.run([sys.executable, script, "--study", str(study), *PAINTED], check=True, capture_output=True)
    with (study / "cohort.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    of = header.index("slide_id")
    kept = [row for row in rows if row[of].endswith("-1")]
    with (study / "cohort.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *kept])
    names = {row[of] for row in kept}
    for slide in (study / "slides").iterdir():
        if slide.stem not in names:
            slide.unlink()


def command(step: Step, study: Path) -> list[str]:
    flags = [flag.replace("{study}", str(study)) for flag in step.flags]
    return [sys.executable, str(ROOT / step.script), "--study", str(study), *flags]


def hashes(study: Path, step: Step) -> dict[str, str]:
    """Return each file that the step made, with its bytes' hash."""
    return {
        str(path.relative_to(study)): hashlib.sha256(path.read_bytes()).hexdigest()
        for made in step.makes
        for path in sorted(_files(study / made))
    }


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from (each for each in path.rglob("*") if each.is_file())


def clear(step: Step, study: Path) -> None:
    """Remove what a step made; an evaluation writes over what a training made."""
    for made in step.makes if step.name != "evaluate" else ():
        path = study / made
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def start(step: Step, study: Path) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command(step, study), start_new_session=True, stdout=quiet, stderr=subprocess.PIPE)


def kill(process: subprocess.Popen[bytes], whom: str, rng: random.Random) -> str:
    """Kill the group, the parent or a worker; say whom it met."""
    import psutil

    if process.poll() is not None:
        return "ended before"
    if whom == "worker":
        workers = [child for child in psutil.Process(process.pid).children(recursive=True) if not _is_tracker(child)]
        if workers:
            try:
                rng.choice(workers).kill()
            except psutil.NoSuchProcess:
                return "ended before"
            return "worker"
        whom = "parent"
    (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGKILL)
    return whom


def _is_tracker(process: psutil.Process) -> bool:
    import psutil

    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.Error:
        return False


def wait_for_group(group: int) -> bool:
    """Wait until no process of the group is left; say whether that came true within a minute."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return False


def strike(
    step: Step, study: Path, seconds: float, wanted: dict[str, str], n: int, rng: random.Random
) -> tuple[list[str], float]:
    """Kill one step once within so many seconds, run it again, and return what was wrong, and how long the rerun took."""
    faults = []
    clear(step, study)
    before = set(SHARED_MEMORY.iterdir())
    whom = ("group", "parent", "worker")[n % 3]
    process = start(step, study)
    time.sleep(rng.uniform(0, seconds))
    met = kill(process, whom, rng)
    assert process.stderr is not None
    words = process.stderr.read().decode(errors="replace") if met == "worker" else ""
    process.wait(LIMIT_S)
    process.stderr.close()
    if "Traceback" in words:
        faults.append(f"traceback after a worker was killed: {words.strip().splitlines()[-1]}")
    if not wait_for_group(process.pid):
        faults.append("processes stay for over a minute")
    if met == "worker" and process.returncode not in (0, 1, 2):
        faults.append(f"exit code {process.returncode} after a worker was killed")
    began = time.monotonic()
    run = subprocess.run(command(step, study), capture_output=True, text=True, timeout=LIMIT_S, check=False)
    took = time.monotonic() - began
    if run.returncode != 0:
        faults.append(f"rerun ends with {run.returncode}: {(run.stderr or run.stdout).strip().splitlines()[-1:]}")
    found = hashes(study, step)
    faults += [
        f"{name} is {'too much' if name in found else 'missing'}" for name in sorted(found.keys() ^ wanted.keys())
    ]
    faults += [
        f"{name} has other bytes" for name in sorted(found.keys() & wanted.keys()) if found[name] != wanted[name]
    ]
    left = {path.name for path in set(SHARED_MEMORY.iterdir()) - before if not path.name.startswith("sem.")}
    if left:
        faults.append(f"left in {SHARED_MEMORY}: {', '.join(sorted(left))}")
    return faults, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="of each step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", default="", help="names with commas; left out: all")
    parser.add_argument(
        "--keep",
        type=Path,
        default=None,
        help="folder to keep the study in; of one that is kept, only what is struck is made anew",
    )
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    chosen = [step for step in STEPS if not arguments.steps or step.name in arguments.steps.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        place = arguments.keep or Path(folder)
        seconds, wanted = {}, {}
        if not (place / "study" / "cohort.csv").is_file():
            make_study(place / "study")
        for step in STEPS:
            if step not in chosen and any(hashes(place / step.folder, step)):
                continue
            clear(step, place / step.folder)
            began = time.monotonic()
            subprocess.run(command(step, place / step.folder), check=True, capture_output=True)
            seconds[step.name] = time.monotonic() - began
        for step in STEPS:  # after the last: evaluate writes into a run's folder
            wanted[step.name] = hashes(place / step.folder, step)
        print("| step | undisturbed, s | kills | faults |\n|---|---|---|---|", flush=True)
        n_faults = 0
        for step in chosen:
            faults, within = [], seconds[step.name]
            for n in range(arguments.kills):
                found, took = strike(step, place / step.folder, within, wanted[step.name], n, rng)
                faults, within = faults + found, max(within, took)
            n_faults += len(faults)
            print(f"| {step.name} | {seconds[step.name]:.1f} | {arguments.kills} | {len(faults)} |", flush=True)
            for fault in faults[:20]:
                print(f"    {fault}", flush=True)
        sys.exit(1 if n_faults else 0)


if __name__ == "__main__":
    main()
