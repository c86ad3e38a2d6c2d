"""The viewer on a slide of 100,000 x 100,000 px with 200,704 tiles: first view, change of layer, squares a second, memory, handles.

    python benchmarks/viewer_speed.py DIR [--side 100000] [--many 500]

Times of the page are those of Chromium without a GPU; squares are asked for over HTTP by two readers at places never read before.
`--many`: so many slides are opened one after the other; open files and memory of the process are read on the way and at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from common.slide_files import file_fingerprint
from common.study import Study
from mil.explanation.map_store import SlideMap, write_slide_map
from mil.viewer.app import viewer_app
from mil.viewer.catalogue import make_catalogue
from mil.viewer.open_slides import SlideShelf
from mil.viewer.server import free_socket
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.tile_store import write_slide_tiles

TILE_PX, MPP, N_SIDE = 512, 0.25, 448
OUTPUTS = ("DDLPS", "LMS", "MFS", "SS", "UPS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=100_000)
    parser.add_argument("--many", type=int, default=500)
    options = parser.parse_args()
    study = make_study(options.folder / "study", options.side)
    catalogue = make_catalogue(study, task="subtype", name="default")
    found: dict[str, object] = {"slide, px": options.side, "tiles": N_SIDE**2}
    with Served(catalogue) as address:
        found |= squares(address, options.side)
        found |= page(address)
        found["memory of the server, MiB"] = round(memory_mib())
    found |= many(options.folder / "many", options.many)
    print(json.dumps(found, indent=1))


def make_study(root: Path, side: int) -> Study:
    """Write a slide of repeated tiles, its tile file and its map; what is there is kept."""
    study = Study(root)
    path = study.slides / "large.tif"
    if not path.is_file():
        study.slides.mkdir(parents=True, exist_ok=True)
        write_large(path, side)
    study.cohort_table.write_text("patient_id,slide_id,subtype\np,large,LMS\n")
    step = side // N_SIDE
    rows, columns = np.mgrid[:N_SIDE, :N_SIDE]
    coords = np.stack([columns.ravel() * step, rows.ravel() * step], axis=1).astype(np.int64)
    n, rng = len(coords), np.random.default_rng(0)
    from preprocessing.colour.stain import NO_STAIN

    tiles = SlideTiles(
        slide_id="large", coords=coords, tissue_fraction=rng.random(n).astype(np.float32), mpp_x=MPP, mpp_y=MPP, mpp_source="file",
        tile_um=step * MPP, tile_px=256, slide_width=side, slide_height=side, tissue_mm2=1.0, stain=NO_STAIN,
        slide_fingerprint=file_fingerprint(path), settings="{}", piece=np.ones(n, np.int32), n_pieces=1, stride_um=step * MPP,
        tissue_source="segmented", tissue_fingerprint="", quality={"sharpness": rng.random(n).astype(np.float32)},
    )  # fmt: skip
    write_slide_tiles(study.tile_file("large"), tiles)
    known = {
        "task": "subtype", "values": {}, "base": {}, "residual": {}, "level": 0.0, "heads": [], "methods": [], "model_sha256": "",
    }  # fmt: skip
    folder = study.run("subtype", "default") / "explanation" / "tiles"
    folder.mkdir(parents=True, exist_ok=True)
    own = SlideMap(
        slide_id="large", patient_id="p", outputs=OUTPUTS, told="LMS", contributions=rng.normal(size=(n, 5)),
        attention=np.full(n, 1 / n), coords=coords, coords_unit="level-0 px", known=known,
    )  # fmt: skip
    write_slide_map(folder / "large.h5", own)
    return study


def write_large(path: Path, side: int) -> None:
    """Write a pyramid whose every tile is the same picture, compressed once."""
    import imagecodecs
    import tifffile

    rng = np.random.default_rng(1)
    small = rng.integers(120, 240, (TILE_PX // 8, TILE_PX // 8, 3)).astype(np.uint8)
    picture = imagecodecs.jpeg8_encode(
        np.kron(small, np.ones((8, 8, 1), np.uint8)),
        level=80,
        colorspace="RGB",
        outcolorspace="YCBCR",
        subsampling="420",
    )
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        level, width = 0, side
        while True:
            n_tiles = (-(-width // TILE_PX)) ** 2
            per_cm = 1e4 / (MPP * 2**level)
            file.write(
                (picture for _ in range(n_tiles)), shape=(width, width, 3), dtype=np.uint8, tile=(TILE_PX, TILE_PX),
                photometric="rgb", compression="jpeg", resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0, metadata=None, software=False,
            )  # fmt: skip
            if width <= 2 * TILE_PX:
                return
            level, width = level + 1, width // 2


class Served:
    """Serve a catalogue at a free port."""

    def __init__(self, catalogue) -> None:  # type: ignore[no-untyped-def]
        self.catalogue = catalogue

    def __enter__(self) -> str:
        import uvicorn

        self.bound = free_socket(0)
        self.server = uvicorn.Server(uvicorn.Config(viewer_app(self.catalogue), log_level="error"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.bound]})
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        return f"http://127.0.0.1:{self.bound.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.bound.close()


def squares(address: str, side: int) -> dict[str, object]:
    """Ask for squares never read before, at full resolution and at an eighth."""
    import httpx

    n_levels = httpx.get(f"{address}/slides/0").json()["geometry"]["n_levels"]
    rates: dict[str, object] = {}
    for name, level, n in (("full resolution", n_levels - 1, 300), ("an eighth", n_levels - 4, 200)):
        across = int(side * MPP // (256 * MPP * 2 ** (n_levels - 1 - level)))
        rng = np.random.default_rng(level)
        wanted = [
            (int(at % across), int(at // across)) for at in rng.choice(across**2, min(n, across**2), replace=False)
        ]
        with httpx.Client(base_url=address) as client, ThreadPoolExecutor(2) as readers:
            started = time.perf_counter()
            answers = list(readers.map(client.get, [f"/slides/0/squares/{level}/{x}/{y}.jpg" for x, y in wanted]))
            seconds = time.perf_counter() - started
        assert all(answer.status_code == 200 for answer in answers)
        rates[f"squares a second, {name} (30 wanted)"] = round(len(wanted) / seconds)
    return rates


def page(address: str) -> dict[str, object]:
    """Open the page in Chromium and change layers."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": 1400, "height": 900})
        started = time.perf_counter()
        view.goto(address)
        view.wait_for_function("() => document.body.dataset.ready === 'yes' && document.body.dataset.idle === 'yes'")
        first = time.perf_counter() - started
        names = ("contribution: UPS", "attention: attention", "quality: sharpness", "contribution: LMS")
        changes = [view.evaluate(CHANGE, name) / 1000 for name in names]
        browser.close()
    return {
        "first view, s (3 wanted)": round(first, 2),
        "change of layer, s (1 wanted)": [round(each, 3) for each in changes],
    }


CHANGE = """(name) => new Promise((done) => {
  const start = performance.now(), box = document.getElementById('layer');
  box.value = name; box.dispatchEvent(new Event('change'));
  const look = () => document.body.dataset.layer === name
    ? requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start))) : setTimeout(look, 2);
  look();
})"""


def many(folder: Path, n: int) -> dict[str, object]:
    """Open many slides one after the other."""
    from preprocessing.synthetic.scanner import write_pyramid

    study = Study(folder)
    study.slides.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(0).integers(100, 250, (1024, 1024, 3)).astype(np.uint8)
    for number in range(n):
        path = study.slides / f"s{number:03d}.tif"
        if not path.is_file():
            write_pyramid(path, picture, 0.5)
    shelf = SlideShelf(make_catalogue(study, task="subtype", name="default"), most_open=8, memory_bytes=16 << 20)
    before = (0, 0.0)
    for number in range(n):
        shelf.square(number, 0, 0, 0)
        if number == n // 5:
            before = n_files(), memory_mib()
    after = n_files(), memory_mib()
    shelf.close()
    return {
        f"{n} slides: open files after a fifth, at the end": [before[0], after[0]],
        "memory, MiB": [round(before[1]), round(after[1])],
    }


def n_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def memory_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
