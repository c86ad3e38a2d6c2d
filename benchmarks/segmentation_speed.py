"""Tissue and grid as a whole process beside CLAM's create_patches_fp.py, in-process beside reading alone, and its memory.

    python benchmarks/segmentation_speed.py --folder DIR [--clam CHECKOUT] [--peers DIR] [--runs 7] [--large] [--json FILE]

Makes a 28,672 px square slide (0.5 µm a pixel, levels 1, 4, 16) in DIR. CLAM runs from a checkout of its repository with
this environment's Python, hs2p and TIAToolbox from the environment of peers.py. --large adds a sparse slide of 102,400 px a
side, with and without small levels (minutes).
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.peers import Peers, checkout, look
from benchmarks.rows import add_json, lacking, record, write_rows

ROOT = Path(__file__).resolve().parents[1]


# A process inherits the peak of the one that started it, and this one paints slides: a small one starts and measures.
MEASURED = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime)
sys.exit(status != 0)
"""


# Each is told the slide; all make a grid of 256 px at 0.5 µm a pixel on tissue.
HS2P = """
import dataclasses, inspect, sys
from pathlib import Path
import hs2p
from hs2p import SlideSpec, TilingConfig, save_tiling_result, tile_slide
config = TilingConfig(backend="openslide", mask_backend="openslide", requested_spacing_um=0.5, requested_tile_size_px=256,
                      tolerance=0.07, overlap=0.0)
masks = dataclasses.replace(inspect.signature(tile_slide).parameters["masks"].default, min_coverage={"tissue": 0.5})
found = tile_slide(SlideSpec(sample_id="s", image_path=Path(sys.argv[1])), tiling=config, masks=masks,
                   segmentation=hs2p.SegmentationConfig(method="hsv"))
result = found["tissue"] if isinstance(found, dict) else found
save_tiling_result(result, output_dir=Path(sys.argv[2]))
assert len(result.x) > 100
"""
TIATOOLBOX = """
import sys
from tiatoolbox.tools.patchextraction import SlidingWindowPatchExtractor
from tiatoolbox.wsicore.wsireader import WSIReader
reader = WSIReader.open(sys.argv[1])
mask = reader.tissue_mask(method="morphological", resolution=8.0, units="mpp")
found = SlidingWindowPatchExtractor(input_img=reader, input_mask=mask, patch_size=(256, 256), stride=(256, 256), resolution=0.5,
                                    units="mpp", min_mask_ratio=0.5)
assert len(found.coordinate_list) > 100
"""


def whole_process(command: Sequence[str | Path], folder: Path) -> tuple[float, float, float]:
    """Seconds by the clock, peak MiB and processor seconds of a command, with modules compiled once as users have them."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = subprocess.run(
        [sys.executable, "-S", "-c", MEASURED, *command],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env=own,
    )
    seconds, peak_mib, processor_s = map(float, found.stdout.split())
    return seconds, peak_mib, processor_s


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


def peer_commands(study: Path, clam: Path | None, peers: Peers) -> dict[str, list[str | Path]]:
    """Return the command of each peer that is there; a row says of the others why they are not."""
    slide, out = study / "slides" / "s.tif", study / "peers"
    commands: dict[str, list[str | Path]] = {}
    what = "tissue and grid, whole process"
    if clam is None:
        lacking(
            "tissue.clam", f"{what}, beside CLAM", "no checkout: name one by --clam or the environment variable CLAM"
        )
    else:
        commands["CLAM"] = [
            sys.executable, clam / "create_patches_fp.py", "--source", study / "slides", "--save_dir", out, "--patch_size", "256",
            "--step_size", "256", "--seg", "--patch",
        ]  # fmt: skip
    for name, script in (("hs2p", HS2P), ("TIAToolbox", TIATOOLBOX)):
        if (why := peers.lacks(name.lower())) or peers.python is None:
            lacking(f"tissue.{name.lower()}", f"{what}, beside {name}", why)
        else:
            commands[name] = [peers.python, "-c", script, slide, out]
    return commands


def beside_peers(study: Path, clam: Path | None, peers: Peers, runs: int) -> None:
    """Let all take turns, so that a drift of the machine meets each."""
    commands = {"ours": our_command(study, "--second_pass", "false", "--quality", "false")}
    commands |= peer_commands(study, clam, peers)
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, command in list(commands.items()):
            clear(study / "tiles")
            clear(study / "peers")
            (study / "peers").mkdir(exist_ok=True)
            try:
                found = whole_process(command, study if clam is None or name != "CLAM" else clam)
                figures[name] += [found] if turn else []  # the first turn compiles modules
            except subprocess.CalledProcessError as error:
                lacking(
                    f"tissue.{name.lower()}",
                    f"tissue and grid, beside {name}",
                    f"it ended with code {error.returncode}",
                )
                del commands[name], figures[name]
    medians = {name: np.median(np.array(own), axis=0) for name, own in figures.items()}
    for name, (seconds, peak, processor_s) in medians.items():
        print(f"  {name:10s} medians: {seconds:.2f} s, processors {processor_s:.2f} s, peak {peak:.0f} MiB")
        if name != "ours":
            ratio = medians["ours"][2] / processor_s
            print(f"  ours / {name}: {ratio:.2f} by processor time, {medians['ours'][0] / seconds:.2f} by the clock")
            record(
                f"tissue.{name.lower()}", f"tissue and grid of a 28,672 px slide, whole process, beside {name}",
                f"{medians['ours'][2]:.2f} s of processor time, {medians['ours'][1]:.0f} MiB",
                against=f"{name}: {processor_s:.2f} s, {peak:.0f} MiB", ratio=ratio,
            )  # fmt: skip


def beside_reading(slide_path: Path, runs: int) -> None:
    """Tissue and grid in this process against reading the level they need."""
    import cv2
    import openslide

    from preprocessing.reading.slide import open_slide
    from preprocessing.tiling.grid import tile_grid
    from preprocessing.tissue.segmentation import overview_mpp, segment_slide

    cv2.setNumThreads(1)
    reading, whole = [], []
    for _ in range(runs):
        with openslide.OpenSlide(slide_path) as handle:
            start = time.process_time()
            np.asarray(handle.read_region((0, 0), 2, handle.level_dimensions[2]).convert("RGB"))
            reading.append(time.process_time() - start)
        with open_slide(slide_path) as slide:
            start = time.process_time()
            found = segment_slide(slide, second_pass=False)
            tile_grid(
                found.is_tissue,
                slide_px=(slide.width, slide.height),
                mpp=(slide.mpp_x, slide.mpp_y),
                tile_um=256.0,
                min_tissue=0.5,
            )
            whole.append(time.process_time() - start)
            start = time.process_time()
            segment_slide(slide)
            both = time.process_time() - start
            assert overview_mpp(slide) == 8.0
    read_ms, whole_ms = np.median(reading) * 1000, np.median(whole) * 1000
    print(
        f"  reading the level {read_ms:.0f} ms, with tissue and grid {whole_ms:.0f} ms: {whole_ms / read_ms:.2f} times"
    )
    print(
        f"  best runs {min(reading) * 1000:.0f} and {min(whole) * 1000:.0f} ms: {min(whole) / min(reading):.2f} times"
    )
    print(f"  with the second pass {both * 1000:.0f} ms")
    record(
        "tissue.reading", "tissue and grid in one process, beside reading the level", f"{whole_ms:.0f} ms of processor time",
        against=f"reading alone: {read_ms:.0f} ms", ratio=whole_ms / read_ms,
    )  # fmt: skip


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
            seconds, peak, _ = whole_process(our_command(study, *flags), study)
            record("tissue.memory", f"peak memory, 102,400 px a side, {name}, {title}", f"{peak:.0f} MiB", ratio=peak)
            print(f"  102,400 px a side, {name}, {title}: {seconds:.0f} s, peak {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--clam", type=Path, help="checkout of CLAM; unset: the environment variable CLAM")
    parser.add_argument("--peers", type=Path, help="folder of benchmarks/peers.py")
    parser.add_argument("--runs", type=int, default=7)
    add_json(parser)
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
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # processor time is compared: no threads that wait for each other
    clam = checkout("CLAM") if arguments.clam is None else arguments.clam.resolve()
    beside_peers(
        study, clam, Peers(None) if arguments.peers is None else look(arguments.peers.resolve()), arguments.runs
    )
    beside_reading(slide_path, arguments.runs)
    if arguments.large:
        large(arguments.folder.resolve(), cell)
    write_rows(arguments.json)


if __name__ == "__main__":
    main()
