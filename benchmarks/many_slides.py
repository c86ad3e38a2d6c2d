"""What thousands of slides cost beyond their own work: tiny ones are tiled and embedded, and both are run again.

    python benchmarks/many_slides.py --slides 2000 --out /tmp/many [--json FILE]
    python benchmarks/many_slides.py --slides 2000 --out /tmp/many --dask 2

Measured are the processor time of the parent process for each slide (orchestration; limit 30 ms), the clock of a second run
that has nothing to do (limit 20 s), and the memory and the open files of the parent over time (flat: the last quarter's most
within a tenth, or 20 MB and 5 files, of the second quarter's). With --dask N the slides go to N Dask workers of this machine, and
the memory of the scheduler is measured too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from benchmarks.rows import add_json, record, write_rows

SIDE_PX, MPP = 320, 2.0
LIMIT_MS, LIMIT_S = 30.0, 20.0
SAMPLED_S = 0.25


@dataclass(frozen=True)
class Course:
    """A run of a script as its parent process lived through it."""

    seconds: float
    parent_s: float  # of processor time
    memory_mb: tuple[float, ...]
    n_open: tuple[int, ...]
    code: int

    def is_flat(self) -> bool:
        """Say whether memory and open files stay where they were in the second quarter."""
        quarter = len(self.memory_mb) // 4
        if quarter < 2:
            return True
        early, late = slice(quarter, 2 * quarter), slice(3 * quarter, None)
        memory = max(self.memory_mb[late]) <= max(max(self.memory_mb[early]) * 1.1, max(self.memory_mb[early]) + 20)
        return memory and max(self.n_open[late]) <= max(self.n_open[early]) + 5


def make_study(study: Path, n_slides: int) -> None:
    """Write tiny slides: a textured patch of one tissue on white, each with its own bytes."""
    import tifffile

    (study / "slides").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    is_tissue = ((x - SIDE_PX / 2) ** 2 + (y - SIDE_PX / 2) ** 2 < (0.4 * SIDE_PX) ** 2)[..., None]
    texture = rng.normal(0, 25, (SIDE_PX, SIDE_PX, 1)) + np.array([185.0, 110, 170])
    for number in range(n_slides):
        pixels = np.where(is_tissue, np.roll(texture, number % SIDE_PX, axis=1), 244.0)
        pixels[0, 0] = number % 256, number // 256, 0
        scale = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER", "metadata": None}
        path = study / "slides" / f"S{number:05d}.tif"
        tifffile.imwrite(path, np.clip(pixels, 0, 255).astype(np.uint8), photometric="rgb", tile=(160, 160),
                         compression="deflate", **scale)  # fmt: skip
    rows = [f"P{number:05d},S{number:05d},{('A', 'B')[number % 2]}" for number in range(n_slides)]
    (study / "cohort.csv").write_text("patient_id,slide_id,subtype\n" + "\n".join(rows) + "\n", encoding="utf-8")


def tiny_encoder() -> object:
    """Return an encoder that costs next to nothing: a tile's mean colour."""
    import torch

    from features.encoder.card import EncoderCard

    def build() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())

    return EncoderCard(name="tiny", source="", dimension=3, licence="none", build=build, weights="own", mpp=None)


def followed(command: list[str], folder: Path) -> Course:
    """Run a command and sample its parent process."""
    import psutil

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    began, memory, files, spent = time.monotonic(), [], [], 0.0
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT)
        parent = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                times = parent.cpu_times()
                spent = times.user + times.system
                memory.append(parent.memory_info().rss / 1e6)
                files.append(parent.num_fds())
            except psutil.Error:
                break
            time.sleep(SAMPLED_S)
        code = process.wait()
    return Course(time.monotonic() - began, spent, tuple(memory), tuple(files), code)


class Cluster:
    """A Dask scheduler and workers on this machine, ended at the end of the with block."""

    def __init__(self, folder: Path, n_workers: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self._folder, self._n_workers = folder, n_workers
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Cluster:
        host, port = self.address.removeprefix("tcp://").split(":")
        self._start("dask_scheduler", "--host", host, "--port", port)
        for _ in range(self._n_workers):
            more = ("--no-nanny", "--nthreads", "1", "--host", host, "--local-directory", str(self._folder / "workers"))
            self._start("dask_worker", self.address, *more)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes[::-1]:
            process.terminate()
            process.wait()

    def memory_mb(self) -> float:
        """Return the memory of the scheduler."""
        import psutil

        return float(psutil.Process(self._processes[0].pid).memory_info().rss / 1e6)

    def spent_s(self) -> float:
        """Return the processor time of scheduler, workers and their own processes so far."""
        import psutil

        own = [psutil.Process(process.pid) for process in self._processes]
        times = [each.cpu_times() for process in own for each in (process, *process.children(recursive=True))]
        return float(sum(time.user + time.system for time in times))

    def _start(self, module: str, *flags: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *flags]
        with (self._folder / f"{module}.log").open("ab") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=self._folder))


def _of_cluster(cluster: Cluster, memory_mb: float, spent_s: float) -> str:
    """Return what a run cost the cluster."""
    spent = cluster.spent_s() - spent_s
    return f" scheduler {memory_mb:.0f} to {cluster.memory_mb():.0f} MB, cluster {spent:.0f} s of processor time |"


def main() -> None:
    """Make the slides, run the steps twice and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=None, help="folder for the study; left out: a temporary one")
    parser.add_argument("--steps", default="tile,extract")
    parser.add_argument("--dask", type=int, default=0, help="Dask workers that do the slides; 0: the script's own")
    add_json(parser)
    arguments = parser.parse_args()
    steps = {
        "tile": ["preprocessing/tile_slides.py", "--tile_um", "128", "--tile_px", "64", "--stain", "none", "--workers", "2"],
        "extract": ["features/extract_features.py", "--encoder", "benchmarks.many_slides:tiny_encoder", "--workers", "1",
                    "--device", "cpu"],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        folder = arguments.out or Path(place)
        study = folder / "study"
        make_study(study, arguments.slides)
        cluster = stack.enter_context(Cluster(folder, arguments.dask)) if arguments.dask else None
        more = ["--scheduler", cluster.address] if cluster else []
        print(
            "| step | clock, s | processor time of the parent, ms a slide | memory of the parent, MB | open files | flat |"
        )
        print("|---|---|---|---|---|---|", flush=True)
        is_well = True
        for name in arguments.steps.split(","):
            command = [sys.executable, str(ROOT / steps[name][0]), "--study", str(study), *steps[name][1:], *more]
            for run in ("first", "nothing to do"):
                before, spent = (cluster.memory_mb(), cluster.spent_s()) if cluster else (0.0, 0.0)
                course = followed(command, folder)
                each = course.parent_s * 1000 / arguments.slides
                memory = f"memory {max(course.memory_mb):.0f} MB, {'flat' if course.is_flat() else 'rising'}"
                record(
                    "scaling.slides", f"{name}, {run}, of {arguments.slides:,} slides: processor time of the parent",
                    f"{each:.1f} ms a slide, {memory}", against=f"limit: {LIMIT_MS:.0f} ms", ratio=each / LIMIT_MS,
                )  # fmt: skip
                is_well &= each <= LIMIT_MS and course.is_flat() and course.code == 0
                is_well &= run == "first" or course.seconds <= LIMIT_S
                print(
                    f"| {name}, {run} | {course.seconds:.1f} | {each:.1f} | {max(course.memory_mb):.0f} | "
                    f"{max(course.n_open)} | {'yes' if course.is_flat() else 'no'} |"
                    + (_of_cluster(cluster, before, spent) if cluster else "")
                    + ("" if course.code == 0 else f" exit code {course.code}"),
                    flush=True,
                )
        write_rows(arguments.json)
        sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
