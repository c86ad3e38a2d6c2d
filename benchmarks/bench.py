"""All figures of speed and memory beside peers and limits, in one table: `make bench`.

    python benchmarks/bench.py [--folder DIR] [--only tissue,colour] [--out TABLE.md] [--no-install]

From a clean clone: makes its inputs, installs the peers that the package registry has into an environment of their own
(benchmarks/peers.py), takes CLAM from the checkout that the environment variable CLAM names (hs2p from HS2P, if that is set), runs
the benchmarks part by part, and writes one table into benchmarks/results/. What could not be had is a row that says so. A part that
was run stays in DIR, so that parts can be run one at a time: --only makes these anew and writes the table of all that are there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __package__ in {None, ""}:
    sys.path[0] = str(ROOT)

from benchmarks.peers import install
from benchmarks.rows import Row, promises, read_rows

HEADER = "| what | figure | beside | ratio | promised | met |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Part:
    """A script with the sizes that make it end within minutes; {} of its arguments stand for the folders."""

    name: str
    script: str
    arguments: tuple[str, ...]
    limit_s: float


PARTS = (
    Part("limits", "limits.py", (), 120),
    Part("tissue", "segmentation_speed.py", ("--folder", "{folder}/tissue", "--peers", "{peers}", "--runs", "3"), 900),
    Part("colour", "colour_speed.py", ("--images", "{folder}/images", "--peers", "{peers}"), 600),
    Part(
        "reading",
        "embedding_speed.py",
        ("--only", "reading", "--source", "{slide}", "--repeats", "2", "--peers", "{peers}"),
        900,
    ),
    Part("survey", "survey_speed.py", ("{slide}",), 120),
    Part("network", "embedding_speed.py", ("--only", "network", "--source", "{slide}", "--repeats", "2"), 600),
    Part("end", "embedding_speed.py", ("--only", "end", "--source", "{slide}", "--repeats", "1"), 1200),
    Part("training", "mil_speed.py", ("--rounds", "2", "--tiles", "200000"), 900),
    Part(
        "two",
        "study_speed.py",
        ("{folder}/study", "--two", "--patients", "60", "--tiles", "1000", "--repeats", "1"),
        1200,
    ),
    Part("study", "study_speed.py", ("{folder}/study",), 1800),
    Part("survival", "survival_speed.py", ("--repeats", "10"), 300),
    Part("cohort", "cohort_memory.py", (), 600),
    Part("memory", "memory_bound.py", ("--tiles", "2000", "10000", "30000"), 600),
    Part("slides", "many_slides.py", ("--slides", "100", "--steps", "tile"), 600),
    Part("scaling", "scaling.py", ("--folder", "{folder}/scaling"), 900),
    Part("gpu", "gpu_embedding.py", ("--source", "{slide}"), 900),
)


def make_inputs(folder: Path) -> Path:
    """Paint a slide and images for the parts that need some; return the slide."""
    import cv2
    import numpy as np

    from benchmarks.mosaic_slide import painted_cell, write_mosaic

    slide, images, cell_file = folder / "painted.tif", folder / "images", folder / "tissue" / "cell.npy"
    if slide.is_file():
        return slide
    for own in (images, cell_file.parent):
        own.mkdir(parents=True, exist_ok=True)
    cell = painted_cell()
    np.save(cell_file, cell)  # segmentation_speed.py takes it
    for number in range(8):
        corner = 1024 + 256 * number
        cv2.imwrite(str(images / f"{number}.png"), cell[1536:2048, corner : corner + 512, ::-1])
    write_mosaic(slide.with_name("painted.partial"), cell, np.ones((4, 4), bool), mpp=0.5)
    slide.with_name("painted.partial").replace(slide)
    return slide


def run_part(part: Part, folder: Path, slide: Path) -> list[Row]:
    """Run one part; a fault of it is a row."""
    rows = folder / "rows" / f"{part.name}.json"
    rows.unlink(missing_ok=True)
    places = {"folder": folder, "slide": slide, "peers": folder / "peers"}
    command = [sys.executable, ROOT / "benchmarks" / part.script, *(each.format(**places) for each in part.arguments)]
    print(f"--- {part.name}", flush=True)
    why = ""
    process = subprocess.Popen([*command, "--json", rows], cwd=ROOT, env=_environment(folder), start_new_session=True)
    try:
        code = process.wait(part.limit_s)
        why = "" if rows.is_file() else f"it ended with code {code}"
    except subprocess.TimeoutExpired:
        why = f"not done within {part.limit_s:.0f} s"
    finally:  # what it started would go on beside the next part
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if not why:
        return read_rows(rows)
    rows.parent.mkdir(parents=True, exist_ok=True)
    return [Row(key=part.name, what=f"{part.name} ({part.script})", missing=why)]


def _environment(folder: Path) -> dict[str, str]:
    own = dict(os.environ, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    if checkout := os.environ.get("HS2P"):
        own["PYTHONPATH"] = os.pathsep.join(filter(None, (checkout, own.get("PYTHONPATH"))))
    return own


def has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def table_of(rows: Sequence[Row]) -> str:
    """Return the table as Markdown; a pipe in a message would end its cell."""
    lines = [HEADER]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}" if row.ratio < 100 else f"{row.ratio:.0f}"
        figure = f"not measured: {row.missing}" if row.missing else row.figure
        cells = (row.what, figure, row.against, ratio, str(row.promise or ""), row.met)
        lines.append("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines)


def unmeasured(rows: Sequence[Row]) -> list[Row]:
    """Return a row for each promise that no row is of: what is promised stands in the table, measured or not."""
    known = {row.key for row in rows}
    return [
        Row(key=key, what=own.words, missing="by a script of its own")
        for key, own in promises().items()
        if key not in known
    ]


def machine() -> str:
    """Return the machine in words, without its name."""
    model = platform.processor() or platform.machine()
    for line in _lines_of(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = f", load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} processors, {platform.system()}, Python {platform.python_version()}{load}"


def _lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def written(rows: Sequence[Row], out: Path, spent_s: float) -> None:
    n_met, n_not, n_missing = (
        sum(row.met == "yes" for row in rows),
        sum(row.met == "no" for row in rows),
        sum(bool(row.missing) for row in rows),
    )
    text = (
        f"# Benchmarks of {time.strftime('%Y-%m-%d')}\n\n{machine()}.\n\n"
        "Made by `make bench` (benchmarks/bench.py). Ratios are of figures taken by turns in one run, by processor time where\n"
        "the row says so or nothing else; they hold on a busy machine, times do not. Inputs are painted slides. What is promised\n"
        f"stands in benchmarks/README.md.\n\n{n_met} promises met, {n_not} not, {n_missing} rows not measured; "
        f"{spent_s / 60:.0f} minutes in this run.\n\n"
        f"{table_of(rows)}\n"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    print(text)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".bench", help="inputs, peers and figures; may be removed"
    )
    parser.add_argument("--only", help="parts, with commas between; unset: all")
    parser.add_argument("--out", type=Path, help="the table; unset: benchmarks/results/DATE-SYSTEM-Ncpu.md")
    parser.add_argument("--no-install", action="store_true", help="take the peers that are there")
    arguments = parser.parse_args(argv)
    folder, started = arguments.folder.resolve(), time.perf_counter()
    wanted = {part.name for part in PARTS} if arguments.only is None else set(arguments.only.split(","))
    if unknown := wanted - {part.name for part in PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in PARTS)}")
    slide = make_inputs(folder)
    if not arguments.no_install and wanted & {"tissue", "colour", "reading"}:
        install(folder / "peers")
    rows: list[Row] = []
    for part in PARTS:
        kept = folder / "rows" / f"{part.name}.json"
        if part.name == "gpu" and not has_gpu():
            rows.append(Row(key="gpu", what="embedding on a GPU", missing="no GPU on this machine"))
        elif part.name in wanted:
            rows += run_part(part, folder, slide)
        elif kept.is_file():
            rows += read_rows(kept)
    if arguments.only is None:
        rows += unmeasured(rows)
    name = f"{time.strftime('%Y-%m-%d')}-{platform.system().lower()}-{platform.machine()}-{os.cpu_count()}cpu.md"
    written(rows, arguments.out or ROOT / "benchmarks" / "results" / name, time.perf_counter() - started)
    return 0


if __name__ == "__main__":
    sys.exit(main())
