"""Tiles a second on the CPU: reading against its limit, the network by OpenVINO and PyTorch, and both end to end.

    python benchmarks/embedding_speed.py [--source SLIDE] [--only reading|network|end] [--repeats 3]

Slides are made of the source's pixels (any slide; default: the study's largest): an Aperio SVS at 0.25 µm a pixel that is
read at 0.5, Aperio SVS at 0.5 with YCbCr (4:2:0) and with RGB inside, a generic TIFF at 0.5; tiles are 128 µm at 256 px.
Rounds of all measurements take turns and the best of each is kept. Reading is timed by the processor's clock, which a busy
machine disturbs little; end to end is given by both clocks. The ratios are what to quote.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.parallel import default_workers
from features.embedding import Embedder, PendingBag, ReadingSettings, SlideJob, embed_slides
from features.encoder import Encoder, build_encoder, find_card
from features.runtime import Runtime, WithTransform, bind, default_batch, embed
from features.tile_reader import TileRequest, close_slide, plan_reading, read_block
from features.tile_stream import stream_blocks
from preprocessing.jpeg_tiles import open_jpeg_slide
from preprocessing.slide import open_slide
from preprocessing.stain import REFERENCE, apply_map, stain_map

TILE_UM, TILE_PX = 128.0, 256
APERIO = "Aperio Image Library v12\n{w}x{h} (240x240) JPEG/RGB Q=80|AppMap = {mag}|AppMag = {mag}|MPP = {mpp}"


def make_slides(source: Path, folder: Path) -> dict[str, tuple[Path, float]]:
    """Write the slides from a square of the source's middle."""
    import tifffile

    with open_slide(source, mpp=(0.5, 0.5)) as slide:
        side = min(8192, slide.width, slide.height) // 1024 * 1024
        corner = ((slide.width - side) // 2, (slide.height - side) // 2)
        image = slide.read_area(corner, (side, side), (side, side))
    slides = {}
    kinds = (
        ("SVS 40x to 20x", 0.25, 240), ("SVS 20x", 0.5, 240), ("SVS 20x RGB inside", 0.5, 240), ("generic TIFF 20x", 0.5, 256)
    )  # fmt: skip
    for name, mpp, tile in kinds:
        is_aperio, is_rgb = name.startswith("SVS"), name.endswith("RGB inside")
        path = folder / (name.replace(" ", "_") + (".svs" if is_aperio else ".tif"))
        text = APERIO.format(w=side, h=side, mag=round(10 / mpp), mpp=mpp) if is_aperio else None
        with tifffile.TiffWriter(path) as file:
            for step in (1, 4):
                file.write(
                    image[::step, ::step], tile=(tile, tile), photometric="rgb", compression="jpeg", metadata=None,
                    compressionargs={"level": 80, **({"outcolorspace": "RGB"} if is_rgb else {})},
                    description=text if step == 1 else None, resolution=(1e4 / mpp / step,) * 2,
                    resolutionunit="CENTIMETER", subfiletype=0 if is_aperio or step == 1 else 1,
                )  # fmt: skip
        slides[name] = (path, mpp)
    return slides


def request_of(path: Path, mpp: float, n_tiles: int) -> TileRequest:
    """Ask for whole tiles row by row."""
    with open_slide(path, mpp=(mpp, mpp)) as slide:
        step = TILE_UM / mpp
        columns, rows = int(slide.width // step), int(slide.height // step)
    coords = np.array([(round(x * step), round(y * step)) for y in range(rows) for x in range(columns)], np.int64)
    return TileRequest(
        name=path.stem,
        path=path,
        mpp=(mpp, mpp),
        coords=coords[:n_tiles],
        tile_um=TILE_UM,
        tile_px=TILE_PX,
        colour=None,
    )


class Rates:
    """The best rate of each measurement over rounds that take turns."""

    def __init__(self) -> None:
        self.best: dict[str, float] = {}

    def measure(self, name: str, n_tiles: int, work: Callable[[], float | None]) -> None:
        """Keep the rate if it is the best; `work` may say itself how long it took, else it is timed."""
        start = time.perf_counter()
        seconds = work() or time.perf_counter() - start
        self.best[name] = max(self.best.get(name, 0.0), n_tiles / seconds)


def decode_once(request: TileRequest) -> None:
    """Decode each tile of the file that the request needs once, and do nothing else: the limit of reading."""
    import imagecodecs

    slide = open_jpeg_slide(request.path)
    level = slide.levels[0]
    across, size = -(-level.width // level.tile_width), TILE_UM / request.mpp[0]
    needed = set()
    for x, y in request.coords.tolist():
        for row in range(int(y // level.tile_height), int((y + size - 1) // level.tile_height) + 1):
            first, last = int(x // level.tile_width), int((x + size - 1) // level.tile_width)
            needed.update(row * across + column for column in range(first, last + 1))
    out = np.empty((level.tile_height, level.tile_width, 3), np.uint8)
    with request.path.open("rb") as file:
        for index in sorted(needed):
            file.seek(level.offsets[index])
            stream = file.read(level.byte_counts[index])
            imagecodecs.jpeg8_decode(
                stream, tables=level.tables, colorspace=level.colorspace, outcolorspace="RGB", out=out
            )
    slide.close()


def read_regions(request: TileRequest) -> None:
    """Read each tile by OpenSlide, one region a tile, as most pipelines do (NumPy at the end, no resize)."""
    import openslide

    side = round(TILE_UM / request.mpp[0])
    with openslide.OpenSlide(request.path) as slide:
        for x, y in request.coords.tolist():
            np.asarray(slide.read_region((x, y), 0, (side, side)).convert("RGB"))


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a piece of work in this process: what others do on the machine matters little."""
    start = time.process_time()
    work()
    return time.process_time() - start


def stream_cpu_seconds(request: TileRequest) -> float:
    """Return the processor time of parent and worker for a request's tiles, starting and ending left out.

    Five copies of the slide and one are compared; what both runs have in common is gone.
    """
    copies = [request.path.with_name(f"{index}_{request.path.name}") for index in range(5)]
    for copy in copies:
        if not copy.exists():
            copy.hardlink_to(request.path)

    def run(n_copies: int) -> float:
        parts = [replace(request, name=copy.stem, path=copy) for copy in copies[:n_copies]]
        before = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        for _, outcome, _ in stream_blocks(parts, workers=1, ahead=3, timeout_s=300):
            outcome.value.release()
        return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before

    return (run(5) - run(1)) / 4


def reading(slides: dict[str, tuple[Path, float]], repeats: int) -> None:
    print("reading, tiles a second of one processor's time")
    for name, (path, mpp) in slides.items():
        request = request_of(path, mpp, 1024)
        plan, n, rates = plan_reading(request), len(request.coords), Rates()
        few = replace(request, coords=request.coords[: n // 4])
        for _ in range(repeats):
            rates.measure("limit", n, partial(cpu_seconds, partial(decode_once, request)))
            rates.measure("delivered", n, partial(stream_cpu_seconds, request))
            rates.measure("read_region", n // 4, partial(cpu_seconds, partial(read_regions, few)))
            rates.measure("limit", n, partial(cpu_seconds, partial(decode_once, request)))
        limit, ours, regions = (rates.best[key] for key in ("limit", "delivered", "read_region"))
        print(
            f"  {name}: limit {limit:.0f}, delivered {ours:.0f} (as {plan.given_px[0]} px), read_region {regions:.0f};  "
            f"of the limit {ours / limit:.2f}, times read_region {ours / regions:.1f}"
        )


def embed_all(runtime: Runtime, tiles: np.ndarray) -> None:
    embed(runtime, tiles)


def plain_pytorch(encoder: Encoder, threads: int) -> Callable[[np.ndarray], None]:
    """Return what most pipelines run: PyTorch in float32, batches of 32, the default memory format."""
    import torch

    module = WithTransform(encoder.network, encoder.card).eval()

    def run(tiles: np.ndarray) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            for start in range(0, len(tiles), 32):
                module(torch.from_numpy(tiles[start : start + 32]))

    return run


def network(tiles: np.ndarray, repeats: int) -> None:
    threads = default_workers()
    for name in ("efficientnet_lite0", "resnet50"):
        card = find_card(name)
        if name == "resnet50":
            network_alone = card.build().eval().requires_grad_(requires_grad=False)
            encoder = Encoder(card, network_alone, "random")
        else:
            encoder = build_encoder(card)
        runtime = bind(encoder, device="cpu", batch=default_batch("cpu"), tile_px=TILE_PX, threads=threads)
        plain, rates = plain_pytorch(encoder, threads), Rates()
        embed(runtime, tiles[:16])
        for _ in range(repeats):
            rates.measure("ours", 64, partial(embed_all, runtime, tiles[:64]))
            rates.measure("plain", 32, partial(plain, tiles[:32]))
            rates.measure("ours", 64, partial(embed_all, runtime, tiles[:64]))
        ours, theirs = rates.best["ours"], rates.best["plain"]
        print(f"{name}: {runtime.name} {ours:.1f}, PyTorch float32 {theirs:.1f} tiles/s; ratio {ours / theirs:.2f}")


def end_to_end(slides: dict[str, tuple[Path, float]], tiles: np.ndarray, repeats: int) -> None:
    threads = default_workers()
    encoder = build_encoder(find_card("efficientnet_lite0"))
    runtime = bind(encoder, device="cpu", batch=default_batch("cpu"), tile_px=TILE_PX, threads=threads)
    embed(runtime, tiles[:16])
    colour = stain_map(REFERENCE, replace(REFERENCE, p99=REFERENCE.p99 * 0.9))
    mapping = Rates()
    mapping.measure("map", len(tiles), partial(cpu_seconds, partial(apply_map, tiles, colour)))
    print(f"colour map, one process: {mapping.best['map']:.0f} tiles/s")
    for name, (path, mpp) in slides.items():
        for kind, chosen in (("no colour map", None), ("colour map", colour)):
            if chosen is not None and not name.startswith("generic"):
                continue
            rates, n = Rates(), 512
            request = replace(request_of(path, mpp, n), colour=chosen)
            n = len(request.coords)
            for _ in range(repeats):
                rates.measure("network", 256, partial(embed_all, runtime, tiles[:256]))
                rates.measure("network, cpu", 256, partial(cpu_seconds, partial(embed_all, runtime, tiles[:256])))
                rates.measure("whole", n, partial(extraction_seconds, request, runtime, threads))
                rates.measure("whole, cpu", n // 2, partial(extraction_cpu_seconds, request, runtime, threads))
                rates.measure("network", 256, partial(embed_all, runtime, tiles[:256]))
            alone, whole, alone_cpu, whole_cpu = (
                rates.best[key] for key in ("network", "whole", "network, cpu", "whole, cpu")
            )
            print(
                f"{name}, {kind}: network alone {alone:.1f}, end to end {whole:.1f} tiles/s, ratio {whole / alone:.2f}; "
                f"by processor time {alone_cpu:.1f}, {whole_cpu:.1f}, ratio {whole_cpu / alone_cpu:.2f}",
                flush=True,
            )


def extraction_cpu_seconds(request: TileRequest, runtime: Runtime, workers: int) -> float:
    """Return the processor time, workers' too, that half of the request's tiles cost; what any run costs is left out."""

    def run(n_tiles: int) -> float:
        before = time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        extraction_seconds(replace(request, coords=request.coords[:n_tiles]), runtime, workers)
        return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before

    n = len(request.coords)
    return run(n) - run(n - n // 2)


def extraction_seconds(request: TileRequest, runtime: Runtime, workers: int) -> float:
    """Return the time from the first slide's file to the second's: worker processes are running by then."""
    with tempfile.TemporaryDirectory() as folder:
        embedder = Embedder(name="e", runtime=runtime, made_by={})
        jobs = []
        for name, n in (("first", 64), ("second", len(request.coords))):
            own = replace(request, name=name, coords=request.coords[:n])
            bag = PendingBag(
                embedder=embedder, path=Path(folder) / f"{name}.h5", wanted={"dimension": 1280}, coords=own.coords,
                coords_attributes={}, image_index=np.empty(0, np.int64),
            )  # fmt: skip
            jobs.append(SlideJob(slide_id=name, requests=[own], bags=[bag]))
        settings = ReadingSettings(workers=workers, ahead=workers + 2, timeout_s=300)
        at = [time.perf_counter() for _ in embed_slides(jobs, settings)]
    return at[1] - at[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--only", choices=("reading", "network", "end"))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    source = arguments.source or max(Path("study/slides").iterdir(), key=lambda path: path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        slides = make_slides(source, Path(folder))
        path, mpp = slides["generic TIFF 20x"]
        request = request_of(path, mpp, 256)
        tiles = read_block(request, plan_reading(request)).tiles
        close_slide()
        if arguments.only in (None, "reading"):
            reading(slides, arguments.repeats)
        if arguments.only in (None, "network"):
            network(tiles, arguments.repeats)
        if arguments.only in (None, "end"):
            end_to_end(slides, tiles, arguments.repeats)


if __name__ == "__main__":
    main()
