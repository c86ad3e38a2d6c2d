"""Tiles a second on the CPU: reading against its limit, the network by OpenVINO and PyTorch, and both end to end.

    python benchmarks/embedding_speed.py [--source SLIDE] [--only reading|network|end] [--repeats 3] [--peers DIR] [--json FILE]

Slides are made of the source's pixels (any slide; default: the study's largest): an Aperio SVS at 0.25 µm a pixel that is
read at 0.5, Aperio SVS at 0.5 with YCbCr (4:2:0) and with RGB inside, a generic TIFF at 0.5; tiles are 128 µm at 256 px.
Rounds of all measurements take turns and the best of each is kept. Reading is timed by the processor's clock, which a busy
machine disturbs little; end to end is given by both clocks. The ratios are what to quote.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.peers import Peers, look
from benchmarks.rows import add_json, lacking, record, write_rows
from benchmarks.speed_slides import TILE_PX, TILE_UM, make_slides, request_of
from common.machine import default_workers
from features.device.binding import bind, default_batch
from features.device.network import WithTransform
from features.device.runtime import Runtime, embed
from features.embedding.jobs import Embedder, EmbeddingJob, PendingBag, ReadingSettings
from features.embedding.loop import embed_slides
from features.encoder.registry import Encoder, build_encoder, find_card
from features.store.provenance import Provenance
from features.stream.tile_reader import TileRequest, close_slide, plan_reading, read_block
from features.stream.tile_stream import stream_blocks
from preprocessing.colour.stain import REFERENCE, stain_map
from preprocessing.reading.jpeg_tiles import open_jpeg_slide

LONG_TILES, SHORT_TILES = 768, 256  # of an extraction; what their difference costs is quoted


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


def _all_cpu() -> float:
    """Return the processor time of this process and of those that it has ended."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


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
        before = _all_cpu()
        for _, outcome, _ in stream_blocks(parts, workers=1, ahead=3, timeout_s=300):
            outcome.value.release()
        return _all_cpu() - before

    return (run(5) - run(1)) / 4


PEER_READER = """
import sys, time
import numpy as np
name, path, side, corners = sys.argv[1], sys.argv[2], int(sys.argv[3]), np.load(sys.argv[4])
def by_pyvips():
    import pyvips
    image = pyvips.Image.new_from_file(path, access="random")
    region = pyvips.Region.new(image)
    def read(x, y):
        return np.frombuffer(region.fetch(x, y, side, side), np.uint8).reshape(side, side, image.bands)[..., :3]
    return read
def by_cucim():
    from cucim import CuImage
    slide = CuImage(path)
    return lambda x, y: np.asarray(slide.read_region((x, y), (side, side), level=0))
read = {"pyvips": by_pyvips, "cucim": by_cucim}[name]()
read(*corners[0].tolist())
start = time.process_time()
for x, y in corners.tolist():
    assert read(x, y).shape == (side, side, 3)
print(len(corners) / (time.process_time() - start))
"""


def beside_reader(peers: Peers, peer: str, module: str, slide: str, request: TileRequest, ours: float) -> None:
    """Record the rate of another reader, by processor time, at the same squares of the finest level."""
    what = f"reading {slide}, beside {peer}"
    if (why := peers.lacks(module)) or peers.python is None:
        lacking(f"reading.{module}", what, why)
        return
    side = round(TILE_UM / request.mpp[0])
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/corners.npy", request.coords)
        command = [peers.python, "-c", PEER_READER, module, request.path, str(side), f"{folder}/corners.npy"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        lacking(f"reading.{module}", what, (done.stderr.strip().splitlines() or ["it ended"])[-1][:160])
        return
    rate = float(done.stdout)
    record(
        f"reading.{module}",
        what,
        f"{ours:.0f} tiles a second of a processor",
        against=f"{peer}: {rate:.0f}",
        ratio=ours / rate,
    )


def reading(slides: dict[str, tuple[Path, float]], repeats: int, peers: Peers | None = None) -> None:
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
        record(
            "reading.limit", f"reading {name}", f"{ours:.0f} tiles a second of a processor",
            against=f"each JPEG tile decoded once: {limit:.0f}", ratio=ours / limit,
        )  # fmt: skip
        record(
            "reading.openslide", f"reading {name}", f"{ours:.0f} tiles a second of a processor",
            against=f"OpenSlide read_region: {regions:.0f}", ratio=ours / regions,
        )  # fmt: skip
        if peers is not None:
            for peer, module in (("pyvips", "pyvips"), ("cuCIM", "cucim")):
                beside_reader(peers, peer, module, name, replace(request, coords=request.coords[: n // 4]), ours)
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
        record(
            f"embedding.{name}", f"{name} by {runtime.name}", f"{ours:.1f} tiles/s", against=f"plain PyTorch float32: {theirs:.1f}",
            ratio=ours / theirs,
        )  # fmt: skip


class Rounds:
    """Tiles a second by the clock and by the processors' time, round after round."""

    def __init__(self) -> None:
        self.clock: list[float] = []
        self.cpu: list[float] = []

    def add(self, n_tiles: int, seconds: tuple[float, float]) -> None:
        self.clock.append(n_tiles / seconds[0])
        self.cpu.append(n_tiles / seconds[1])


def end_to_end(slides: dict[str, tuple[Path, float]], tiles: np.ndarray, repeats: int) -> None:
    """Alternate the network alone with whole extractions; what an extraction costs is the difference of a long and a short one.

    So starting workers is left out, while every tile's reading counts, that of blocks read ahead too.
    """
    threads = default_workers()
    encoder = build_encoder(find_card("efficientnet_lite0"))
    runtime = bind(encoder, device="cpu", batch=default_batch("cpu"), tile_px=TILE_PX, threads=threads)
    embed(runtime, tiles[:16])
    print(f"end to end, {repeats} rounds, {LONG_TILES} - {SHORT_TILES} tiles each; ratios: whole over network alone")
    for name, (path, mpp) in slides.items():
        for is_mapped in (False, True) if name.startswith("generic") else (False,):
            request = request_of(path, mpp, LONG_TILES)
            alone, whole = Rounds(), Rounds()
            for index in range(repeats):
                # a map of its own each time: its table is made in the long and the short run, as for each slide
                maps = [stain_map(REFERENCE, replace(REFERENCE, p99=REFERENCE.p99 * s)) for s in _scales(index)]
                own = [replace(request, colour=colour if is_mapped else None) for colour in maps]
                alone.add(2 * len(tiles), _seconds_of(lambda: (embed(runtime, tiles), embed(runtime, tiles))))
                short = extraction(own[0], SHORT_TILES, runtime, threads)
                long = extraction(own[1], len(request.coords), runtime, threads)
                whole.add(len(request.coords) - SHORT_TILES, (long[0] - short[0], long[1] - short[1]))
            title = f"{name}{', colour map' if is_mapped else ''}"
            print(_line(title, alone, whole), flush=True)
            ratio = float(np.median([own / limit for own, limit in zip(whole.cpu, alone.cpu, strict=True)]))
            record(
                "embedding.end", f"slide to feature file, {title}", f"{np.median(whole.cpu):.1f} tiles a second of all processors",
                against=f"the network alone: {np.median(alone.cpu):.1f}", ratio=ratio,
            )  # fmt: skip


def _scales(index: int) -> tuple[float, float]:
    return 0.9 - 0.01 * index, 1.1 + 0.01 * index


def _line(name: str, alone: Rounds, whole: Rounds) -> str:
    texts = []
    for clock, ours, theirs in (("clock", whole.clock, alone.clock), ("processors", whole.cpu, alone.cpu)):
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        texts.append(
            f"by the {clock} {np.median(theirs):.1f} alone, {np.median(ours):.1f} whole, ratio median "
            f"{np.median(ratios):.3f}, best {max(ratios):.3f}, best rates {max(ours) / max(theirs):.3f}"
        )
    return f"  {name}: " + "; ".join(texts)


def _seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds of a piece of work, by the clock and by the processors."""
    start, before = time.perf_counter(), _all_cpu()
    work()
    return time.perf_counter() - start, _all_cpu() - before


def extraction(request: TileRequest, n_tiles: int, runtime: Runtime, workers: int) -> tuple[float, float]:
    """Return the seconds from the start to the slide's file by the clock, and those of the processors until all has ended."""
    with tempfile.TemporaryDirectory() as folder:
        own = replace(request, coords=request.coords[:n_tiles])
        bag = PendingBag(
            embedder=Embedder(name="e", runtime=runtime, provenance=Provenance(dimension=1280)), path=Path(folder) / "s.h5",
            wanted={"dimension": 1280}, coords=own.coords, coords_attributes={}, image_index=np.empty(0, np.int64),
        )  # fmt: skip
        settings = ReadingSettings(workers=workers, ahead=workers + 2, timeout_s=300)
        start, before, at = time.perf_counter(), _all_cpu(), 0.0
        for _, status in embed_slides([EmbeddingJob(slide_id=own.name, requests=[own], bags=[bag])], settings):
            at = time.perf_counter() - start
            assert status.state == "done", status.reason
        return at, _all_cpu() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--only", choices=("reading", "network", "end"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="folder of benchmarks/peers.py")
    add_json(parser)
    arguments = parser.parse_args()
    source = arguments.source or max(Path("study/slides").iterdir(), key=lambda path: path.stat().st_size)
    with tempfile.TemporaryDirectory() as folder:
        slides = make_slides(source, Path(folder))
        path, mpp = slides["generic TIFF 20x"]
        request = request_of(path, mpp, 256)
        tiles = read_block(request, plan_reading(request)).tiles
        close_slide()
        if arguments.only in (None, "reading"):
            reading(slides, arguments.repeats, None if arguments.peers is None else look(arguments.peers.resolve()))
        if arguments.only in (None, "network"):
            network(tiles, arguments.repeats)
        if arguments.only in (None, "end"):
            end_to_end(slides, tiles, arguments.repeats)
    write_rows(arguments.json)


if __name__ == "__main__":
    main()
