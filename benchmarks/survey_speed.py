"""The survey of a slide at 8 µm a pixel against OpenSlide's own read of the level it needs; and its peak memory.

python benchmarks/survey_speed.py SLIDE [--mpp 0.5]      # time, best of five in one process
python benchmarks/survey_speed.py --large                # memory: a sparse slide of 100,000 x 100,000 px, one level
"""

import argparse
import math
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import tifffile

from benchmarks.rows import add_json, record, write_rows
from preprocessing.reading.slide import open_slide
from preprocessing.reading.survey import survey_slide
from tests.reference.slow_overview import slow_overview

SIDE, TILE = 100_000, 512
ASKED = 8.0


def speed(path, mpp):
    import openslide

    rounds = []
    for _ in range(5):
        with open_slide(path, mpp=mpp) as slide:
            level = slide.level_for(ASKED / max(slide.mpp_x, slide.mpp_y))
            start = time.process_time()
            survey = survey_slide(slide, ASKED)
            surveyed = time.process_time() - start
        with open_slide(path, mpp=mpp) as slide:
            start = time.process_time()
            slow_overview(slide, ASKED)
            overviewed = time.process_time() - start
        with openslide.OpenSlide(path) as handle:
            start = time.process_time()
            handle.read_region((0, 0), level, handle.level_dimensions[level])
            read = time.process_time() - start
        rounds.append((surveyed, overviewed, read))
    surveyed, overviewed, read = np.min(rounds, axis=0) * 1000
    print(
        f"{path.name}: level {level} read {read:.0f} ms, survey {survey.image.shape[:2]} {surveyed:.0f} ms "
        f"({surveyed / read:.2f} times), overview {overviewed:.0f} ms ({overviewed / read:.2f} times)"
    )
    record(
        "reading.survey", f"survey at 8 µm a pixel ({path.name})", f"{surveyed:.0f} ms of processor time",
        against=f"OpenSlide's read of the level: {read:.0f} ms", ratio=surveyed / read,
    )  # fmt: skip


def memory():
    tile = np.random.default_rng(0).integers(100, 255, (TILE, TILE, 3), dtype=np.uint8)
    n_tiles = math.ceil(SIDE / TILE) ** 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sparse.tif"
        tiles = (tile if index % 97 == 0 else None for index in range(n_tiles))
        tifffile.imwrite(path, tiles, shape=(SIDE, SIDE, 3), dtype=np.uint8, tile=(TILE, TILE), photometric="rgb",
                         compression="jpeg", bigtiff=True, metadata=None)  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        start = time.perf_counter()
        with open_slide(path, mpp=(0.25, 0.25)) as slide:
            survey = survey_slide(slide, ASKED)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{SIDE} x {SIDE} px, one level: survey {survey.image.shape[:2]}, {time.perf_counter() - start:.0f} s, "
            f"peak memory of the process {peak:.0f} MB ({before:.0f} MB before)"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path, nargs="?")
    parser.add_argument("--mpp", type=float)
    parser.add_argument("--large", action="store_true")
    add_json(parser)
    arguments = parser.parse_args()
    if arguments.large:
        memory()
    if arguments.slide is not None:
        speed(arguments.slide, None if arguments.mpp is None else (arguments.mpp, arguments.mpp))
    write_rows(arguments.json)
