"""Tiles a second on GPUs: whole extractions over the network alone, the share of the time in which a GPU computes.

    python benchmarks/gpu_embedding.py --source SLIDE [--encoders resnet50,uni,efficientnet_lite0] [--slides 24] [--repeats 2]

Slides are made of the source's pixels as in `embedding_speed.py` and linked under many names: each is opened, planned and
read by itself. The network alone runs back to back on fields that lie on the device already, recorded as the program
records it, in the same precision and batch; so crossing, resize, colours and all waiting count against the whole. A whole
extraction is the program's own loop, from compressed tiles to feature files; what all slides cost beyond a third of them is
quoted, so the start of the readers is left out. Encoders without weights on this machine run with random ones.
`--device cpu` tries the script out.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.rows import add_json, record, write_rows
from benchmarks.speed_slides import TILE_PX, make_slides, request_of
from common.machine import default_workers, memory_gb
from features.device.binding import bind, default_batch
from features.device.gpu import Network, gpus_of, network_on
from features.device.gpu_precision import DTYPES
from features.device.network import WithTransform
from features.device.runtime import BusyClock, Runtime, embed
from features.device.tile_pixels import Preparation, encoder_field, prepared
from features.embedding.extraction_settings import default_readers
from features.embedding.jobs import Embedder, EmbeddingJob, PendingBag, ReadingSettings
from features.embedding.loop import embed_slides
from features.encoder.registry import Encoder, build_encoder, find_card
from features.store.provenance import Provenance
from features.stream.tile_reader import TileRequest, close_slide, plan_reading, read_block
from features.stream.tile_stream import stream_blocks
from preprocessing.colour.stain import REFERENCE, stain_map

KINDS = ("SVS 40x to 20x", "SVS 20x", "generic TIFF 20x")
ALONE_S = 3.0


def encoder_of(name: str) -> Encoder:
    """Return the encoder with its weights where the environment holds them, else with random ones."""
    card = find_card(name)
    if card.weights == "built in":
        return build_encoder(card)
    torch.manual_seed(0)
    return Encoder(card, card.build().eval().requires_grad_(False), "random")


def alone(encoder: Encoder, runtime: Runtime, tiles: np.ndarray, device: torch.device) -> float:
    """Return the network's tiles a second on fields that lie on the device; after a warm-up, for some seconds."""
    module = WithTransform(encoder.network, encoder.card).eval().to(device, DTYPES[runtime.precision])
    network: Network = module.to(memory_format=torch.channels_last)
    if device.type == "cuda":
        network = network_on(gpus_of(str(device))[0], module, runtime.batch, TILE_PX)
    batch = torch.from_numpy(np.resize(tiles, (runtime.batch, *tiles.shape[1:]))).to(device)
    fields = encoder_field(batch, encoder.card)

    def run(seconds: float) -> float:
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for _ in range(10):
                embeddings = network(fields)
            embeddings.cpu()
            n += 10 * len(fields)
        return n / (time.perf_counter() - start)

    with torch.inference_mode():
        run(0.5)
        return run(ALONE_S)


def preparing(encoder: Encoder, runtime: Runtime, block: np.ndarray, how: Preparation) -> float:
    """Return the tiles a second that go through the runtime from this process's memory, nothing read."""
    many = np.resize(block, (max(512, runtime.batch * 16), *block.shape[1:]))
    embed(runtime, many[: runtime.batch * 4], how)
    start = time.perf_counter()
    embed(runtime, many, how)
    return len(many) / (time.perf_counter() - start)


def whole(
    requests: list[TileRequest], encoder: Encoder, runtime: Runtime, reading: ReadingSettings
) -> Float64[np.ndarray, " 3"]:
    """Return the seconds of an extraction, the start of the readers included: by the clock, of this process, of readers."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = [
            EmbeddingJob(
                slide_id=own.name, requests=[own],
                bags=[PendingBag(
                    embedder=Embedder(name="e", runtime=runtime, provenance=Provenance(dimension=encoder.card.dimension)),
                    path=Path(folder) / f"{own.name}.h5",
                    wanted={"dimension": encoder.card.dimension}, coords=own.coords, coords_attributes={},
                    image_index=np.empty(0, np.int64),
                )],
            )
            for own in requests
        ]  # fmt: skip
        before = _clocks()
        for _, status in embed_slides(jobs, reading):
            assert status.state == "done", status.reason
        return _clocks() - before


def _clocks() -> Float64[np.ndarray, " 3"]:
    readers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return np.array([time.perf_counter(), time.process_time(), readers.ru_utime + readers.ru_stime])


def read_alone(requests: list[TileRequest], reading: ReadingSettings) -> float:
    """Return the seconds of reading these slides as fast as the readers can, their start included."""
    start = time.perf_counter()
    for _, outcome, _ in stream_blocks(
        requests, workers=reading.workers, ahead=reading.ahead, timeout_s=300, memory_holder=reading.memory_holder
    ):
        assert outcome.value is not None
        outcome.value.release()
    return time.perf_counter() - start


def links(request: TileRequest, n: int, *, is_mapped: bool) -> list[TileRequest]:
    """Return the request for as many slides, each a link to the same bytes, each with a colour map of its own."""
    requests = []
    for index in range(n):
        path = request.path.with_name(f"{index:03d}_{request.path.name}")
        if not path.exists():
            path.hardlink_to(request.path)
        colour = stain_map(REFERENCE, replace(REFERENCE, p99=REFERENCE.p99 * (0.9 + 0.002 * index)))
        requests.append(replace(request, name=path.stem, path=path, colour=colour if is_mapped else None))
    return requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--encoders", default="resnet50,uni,efficientnet_lite0")
    parser.add_argument("--kinds", default="0,1,2", help=f"of {KINDS}")
    parser.add_argument("--slides", type=int, default=24)
    parser.add_argument("--down", type=int, default=8, help="copies of the source's square below each other on a slide")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--precision", default="auto", help="random weights can be far from float16, real ones are not")
    parser.add_argument("--workers", type=int)
    add_json(parser)
    arguments = parser.parse_args()
    gpus, processors = gpus_of(arguments.device), default_workers()
    device = gpus[0].device if gpus else torch.device("cpu")
    workers = arguments.workers or default_readers(processors, n_gpus=len(gpus), memory_gb=memory_gb())
    batch = arguments.batch or default_batch(arguments.device)
    print(
        f"PyTorch {torch.__version__}, {gpus[0].name if gpus else 'CPU'}, {processors} processors, {workers} readers, batch {batch}"
    )
    with tempfile.TemporaryDirectory() as folder:
        slides = make_slides(arguments.source, Path(folder), kinds=KINDS, down=arguments.down)
        for name in arguments.encoders.split(","):
            encoder = encoder_of(name)
            start = time.perf_counter()
            runtime = bind(
                encoder,
                device=arguments.device,
                batch=batch,
                tile_px=TILE_PX,
                threads=processors,
                precision=arguments.precision,
            )
            print(f"{name}: {runtime.description}; ready after {time.perf_counter() - start:.1f} s", flush=True)
            reading = ReadingSettings(
                workers=workers,
                ahead=workers + 2,
                timeout_s=300,
                held=runtime.blocks_held,
                memory_holder=runtime.memory_holder,
            )
            for kind in (KINDS[int(index)] for index in arguments.kinds.split(",")):
                path, mpp = slides[kind]
                measure(arguments, encoder, runtime, reading, kind, request_of(path, mpp, 100_000), device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the parent {peak:.2f} GiB (shared slots included)")
    write_rows(arguments.json)


def measure(
    arguments: argparse.Namespace, encoder: Encoder, runtime: Runtime, reading: ReadingSettings, kind: str,
    request: TileRequest, device: torch.device,
) -> None:  # fmt: skip
    plan = plan_reading(request)
    block = read_block(replace(request, coords=request.coords[:64]), plan).tiles
    close_slide()
    assert block is not None
    own = Preparation(tile_px=TILE_PX, box_px=plan.box_px)
    tiles, n = prepared(block, own), arguments.slides
    plain = links(request, n, is_mapped=False)
    n_read = sum(len(one.coords) for one in plain[n // 3 :])
    read = n_read / (read_alone(plain, reading) - read_alone(plain[: n // 3], reading))
    print(f"  {kind}: readers alone {read:.0f} tiles/s", flush=True)
    for is_mapped in (False, True):
        requests = links(request, n, is_mapped=is_mapped)
        n_tiles = sum(len(one.coords) for one in requests[n // 3 :])
        rates, networks, shares = [], [], []
        for _ in range(arguments.repeats):
            networks.append(alone(encoder, runtime, tiles, device))
            short = whole(requests[: n // 3], encoder, runtime, reading)
            gpus = gpus_of(arguments.device)
            for gpu in gpus:
                gpu.clock = BusyClock()
            seconds, of_parent, of_readers = whole(requests, encoder, runtime, reading) - short
            rates.append(n_tiles / seconds)
            processors = (of_parent / seconds, of_readers / seconds)
            shares += [gpu.clock.share() for gpu in gpus]
        ratios = [a / b for a, b in zip(rates, networks, strict=True)]
        record(
            "gpu", f"slide to feature file on a GPU, {encoder.card.name}, {kind}{', colour map' if is_mapped else ''}",
            f"{np.median(rates):.0f} tiles/s, GPU busy {np.mean(shares):.0%}",
            against=f"the network alone: {np.median(networks):.0f}",
            ratio=float(np.median(ratios)),
        )  # fmt: skip
        memory = preparing(encoder, runtime, block, replace(own, colour=requests[0].colour, n_tiles=n_tiles))
        busy = ", ".join(f"{share:.0%}" for share in shares)
        print(
            f"  {kind}{', colour map' if is_mapped else ''} ({n} slides of {len(request.coords)} tiles): network alone "
            f"{np.median(networks):.0f}, from memory {memory:.0f}, whole {np.median(rates):.0f} tiles/s; whole over network "
            f"alone median {np.median(ratios):.3f}, best {max(ratios):.3f}; GPU busy {busy}; processors busy in the last "
            f"round: {processors[0]:.1f} of the program, {processors[1]:.1f} of its readers", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
