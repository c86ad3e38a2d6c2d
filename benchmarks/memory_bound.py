"""Peak memory of embedding a slide, parent and workers together, against the number of its tiles.

    python benchmarks/memory_bound.py [--tiles 10000 30000 100000] [--network stand-in|efficientnet_lite0] [--json FILE]

The slide is a TIFF of a few hundred kilobytes in which one JPEG tile stands for all (by its byte range), so that any number
of tiles costs nothing to make; it is read, colour-mapped, embedded, logged and written as any other. The stand-in network is
one matrix from block means to 1,280 features: the memory of everything but the network's arithmetic. Memory is the proportional
set size (shared pages counted once), sampled every 50 ms.
"""

import argparse
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.rows import add_json, record, write_rows

SIDE = 256


def write_repeated(path: Path, n_across: int) -> None:
    """Write a square TIFF of n x n JPEG tiles, all of them the same bytes."""
    import imagecodecs

    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(90, 230, (32, 32, 3)), np.ones((8, 8, 1)))
    tile = np.clip(coarse + rng.normal(0, 5, coarse.shape), 0, 255).astype(np.uint8)
    stream = imagecodecs.jpeg8_encode(tile, level=80)
    n_tiles, side = n_across**2, n_across * SIDE
    entries = (
        (256, 4, 1, side), (257, 4, 1, side), (258, 3, 3, None), (259, 3, 1, 7), (262, 3, 1, 6), (277, 3, 1, 3),
        (284, 3, 1, 1), (322, 4, 1, SIDE), (323, 4, 1, SIDE), (324, 4, n_tiles, None), (325, 4, n_tiles, None),
        (530, 3, 2, 0x20002),
    )  # fmt: skip
    start_bits = 8 + 2 + 12 * len(entries) + 4
    start_stream = start_bits + 6
    start_offsets = start_stream + len(stream)
    where = {258: start_bits, 324: start_offsets, 325: start_offsets + 4 * n_tiles}
    with path.open("wb") as file:
        file.write(struct.pack("<2sHIH", b"II", 42, 8, len(entries)))
        for tag, kind, count, value in entries:
            file.write(struct.pack("<HHII", tag, kind, count, where[tag] if value is None else value))
        file.write(struct.pack("<I3H", 0, 8, 8, 8) + stream)
        file.write(struct.pack("<I", start_stream) * n_tiles + struct.pack("<I", len(stream)) * n_tiles)


def stand_in() -> object:
    """Return an encoder that costs next to nothing."""
    import torch

    from features.encoder.card import EncoderCard
    from features.encoder.registry import Encoder

    network = torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Flatten(), torch.nn.Linear(8 * 8 * 3, 1280))
    card = EncoderCard(name="stand_in", source="", dimension=1280, licence="", build=lambda: network, weights="own")
    return Encoder(card, network.eval().requires_grad_(False), "0")


def embed_slide(path: Path, n_tiles: int, network: str, folder: Path) -> None:
    """Embed the first n tiles of the slide."""
    from common.machine import default_workers
    from features.device.binding import bind, default_batch
    from features.embedding.jobs import Embedder, EmbeddingJob, PendingBag, ReadingSettings
    from features.embedding.loop import embed_slides
    from features.encoder.registry import build_encoder, find_card
    from features.store.provenance import Provenance
    from features.stream.tile_reader import TileRequest
    from preprocessing.colour.stain import REFERENCE, stain_map

    encoder = stand_in() if network == "stand-in" else build_encoder(find_card(network))
    threads = default_workers()
    runtime = bind(encoder, device="cpu", batch=default_batch("cpu"), tile_px=SIDE, threads=threads)
    across = int(np.ceil(np.sqrt(n_tiles)))
    coords = np.array([(x * SIDE, y * SIDE) for y in range(across) for x in range(across)], np.int64)[:n_tiles]
    request = TileRequest(
        name="s", path=path, mpp=(1.0, 1.0), coords=coords, tile_um=float(SIDE), tile_px=SIDE,
        colour=stain_map(REFERENCE, REFERENCE) if network != "stand-in" else None,
    )  # fmt: skip
    bag = PendingBag(
        embedder=Embedder(name="e", runtime=runtime, provenance=Provenance(dimension=1280)), path=folder / "s.h5",
        wanted={"dimension": 1280},
        coords=coords, coords_attributes={}, image_index=np.empty(0, np.int64),
    )  # fmt: skip
    settings = ReadingSettings(workers=threads, ahead=threads + 2, timeout_s=300)
    for _, status in embed_slides([EmbeddingJob(slide_id="s", requests=[request], bags=[bag])], settings):
        print(status.state, status.reason, dict(status.figures))


def peak_of(command: list[str]) -> tuple[float, float]:
    """Run a command; return the peak memory of its whole tree in GiB, and its seconds."""
    import psutil

    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(command)
    tree, stop = psutil.Process(process.pid), threading.Event()

    def sample() -> None:
        nonlocal peak
        while not stop.wait(0.05):
            total = 0
            try:
                for own in [tree, *tree.children(recursive=True)]:
                    total += own.memory_full_info().pss
            except psutil.Error:
                continue
            peak = max(peak, total)

    watcher = threading.Thread(target=sample)
    watcher.start()
    code = process.wait()
    stop.set()
    watcher.join()
    assert code == 0, command
    return peak / 2**30, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--network", default="stand-in")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    add_json(parser)
    arguments = parser.parse_args()
    peaks: dict[int, float] = {}
    if arguments.child is not None:
        embed_slide(arguments.child / "s.tif", arguments.tiles[0], arguments.network, arguments.child)
        return
    for n_tiles in arguments.tiles:
        with tempfile.TemporaryDirectory() as folder:
            write_repeated(Path(folder) / "s.tif", int(np.ceil(np.sqrt(n_tiles))))
            child = [sys.executable, __file__, "--child", folder, "--network", arguments.network]
            gib, seconds = peak_of([*child, "--tiles", str(n_tiles)])
            print(f"{n_tiles:8d} tiles: peak {gib:.2f} GiB, {n_tiles / seconds:.0f} tiles/s", flush=True)
            peaks[n_tiles] = gib
            least = peaks[arguments.tiles[0]]
            record(
                "memory.tiles", f"peak memory of embedding a slide of {n_tiles:,} tiles, parent and workers ({arguments.network})",
                f"{gib:.2f} GiB, {n_tiles / seconds:.0f} tiles/s", against=f"{arguments.tiles[0]:,} tiles: {least:.2f} GiB",
                ratio=gib / least,
            )  # fmt: skip
    write_rows(arguments.json)


if __name__ == "__main__":
    main()
