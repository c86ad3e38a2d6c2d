"""Tissue and grid as a whole process beside CLAM's create_patches_fp.py, in-process beside reading alone, and its memory.

    python benchmarks/segmentation_speed.py --folder DIR [--clam CHECKOUT] [--large]

Makes a 28,672 px square slide (0.5 µm a pixel, levels 1, 4, 16) in DIR. CLAM runs from a checkout of its repository with
this environment's Python. --large adds a sparse slide of 102,400 px a side, with and without small levels (minutes).
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

ROOT = Path(__file__).resolve().parents[1]
RUNS = 7


# A process inherits the peak of the one that started it, and this one paints slides: a small one starts and measures.
MEASURED = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss / 1024)
sys.exit(status != 0)
"""


def whole_process(command: Sequence[str | Path], folder: Path) -> tuple[float, float]:
    """Seconds and peak MiB of a command."""
    found = subprocess.run(
        [sys.executable, "-S", "-c", MEASURED, *command], cwd=folder, check=True, capture_output=True, text=True
    )
    seconds, peak_mib = map(float, found.stdout.split())
    return seconds, peak_mib


def clear(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()


def our_command(study: Path, *flags: str) -> list[str | Path]:
    return [
        sys.executable,
        ROOT / "preprocessing" / "tile_slides.py",
        "--study",
        study,
        "--stain",
        "none",
        "--workers",
        "0",
        *flags,
    ]


def beside_clam(study: Path, clam: Path) -> None:
    """Alternate the two, so that a drift of the machine meets both."""
    out = study / "clam"
    ours = our_command(study, "--second_pass", "false", "--quality", "false")
    theirs = [
        sys.executable, clam / "create_patches_fp.py", "--source", study / "slides", "--save_dir", out, "--patch_size", "256",
        "--step_size", "256", "--seg", "--patch",
    ]  # fmt: skip
    figures: dict[str, list[tuple[float, float]]] = {"ours": [], "CLAM": []}
    for _ in range(RUNS):
        clear(study / "tiles")
        figures["ours"].append(whole_process(ours, study))
        clear(out)
        figures["CLAM"].append(whole_process(theirs, clam))
    medians = {name: np.median([seconds for seconds, _ in own]) for name, own in figures.items()}
    for name, own in figures.items():
        print(
            f"  {name:6s} median {medians[name]:.2f} s, best {min(own)[0]:.2f} s, peak {max(peak for _, peak in own):.0f} MiB"
        )
    best = min(figures["ours"])[0] / min(figures["CLAM"])[0]
    print(f"  ours / CLAM: {medians['ours'] / medians['CLAM']:.2f} of medians, {best:.2f} of best runs")


def beside_reading(slide_path: Path) -> None:
    """Tissue and grid in this process against reading the level they need."""
    import cv2
    import openslide

    from preprocessing.reading.slide import open_slide
    from preprocessing.tiling.grid import tile_grid
    from preprocessing.tissue.segmentation import overview_mpp, segment_slide

    cv2.setNumThreads(1)
    reading, whole = [], []
    for _ in range(RUNS):
        with openslide.OpenSlide(slide_path) as handle:
            start = time.perf_counter()
            np.asarray(handle.read_region((0, 0), 2, handle.level_dimensions[2]).convert("RGB"))
            reading.append(time.perf_counter() - start)
        with open_slide(slide_path) as slide:
            start = time.perf_counter()
            found = segment_slide(slide, second_pass=False)
            tile_grid(
                found.is_tissue,
                slide_px=(slide.width, slide.height),
                mpp=(slide.mpp_x, slide.mpp_y),
                tile_um=256.0,
                min_tissue=0.5,
            )
            whole.append(time.perf_counter() - start)
            start = time.perf_counter()
            segment_slide(slide)
            both = time.perf_counter() - start
            assert overview_mpp(slide) == 8.0
    read_ms, whole_ms = np.median(reading) * 1000, np.median(whole) * 1000
    print(
        f"  reading the level {read_ms:.0f} ms, with tissue and grid {whole_ms:.0f} ms: {whole_ms / read_ms:.2f} times"
    )
    print(
        f"  best runs {min(reading) * 1000:.0f} and {min(whole) * 1000:.0f} ms: {min(whole) / min(reading):.2f} times"
    )
    print(f"  with the second pass {both * 1000:.0f} ms")


def large(folder: Path, cell: np.ndarray) -> None:
    """Peak memory on a sparse slide of 102,400 px a side."""
    from benchmarks.mosaic_slide import write_mosaic

    has_tissue = np.random.default_rng(1).random((25, 25)) < 0.08
    for name, n_levels in (("levels", 3), ("single", 1)):
        study = folder / f"large_{name}"
        (study / "slides").mkdir(parents=True, exist_ok=True)
        write_mosaic(study / "slides" / "s.tif", cell, has_tissue, mpp=0.25, n_levels=n_levels)
        (study / "cohort.csv").write_text("patient_id,slide_id\np,s\n")
        for title, flags in (("all", ()), ("tissue and grid", ("--second_pass", "false", "--quality", "false"))):
            clear(study / "tiles")
            seconds, peak = whole_process(our_command(study, *flags), study)
            print(f"  102,400 px a side, {name}, {title}: {seconds:.0f} s, peak {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--clam", type=Path)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    from benchmarks.mosaic_slide import painted_cell, write_mosaic

    study = arguments.folder.resolve() / "study"
    (study / "slides").mkdir(parents=True, exist_ok=True)
    cell_file = arguments.folder / "cell.npy"
    if not cell_file.is_file():
        np.save(cell_file, painted_cell())
    cell = np.load(cell_file)
    slide_path = study / "slides" / "s.tif"
    if not slide_path.is_file():
        write_mosaic(slide_path, cell, np.random.default_rng(0).random((7, 7)) < 0.6, mpp=0.5)
        (study / "cohort.csv").write_text("patient_id,slide_id\np,s\n")
    if arguments.clam:
        beside_clam(study, arguments.clam.resolve())
    beside_reading(slide_path)
    if arguments.large:
        large(arguments.folder.resolve(), cell)


if __name__ == "__main__":
    main()
