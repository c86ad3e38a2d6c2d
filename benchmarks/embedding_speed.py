"""Tiles a second on the CPU: the network by OpenVINO and PyTorch, the colour map, reading, and the whole stream.

    python benchmarks/embedding_speed.py --study study [--slide SLIDE_ID]

All in one run on one slide of a study that was tiled; the ratios are what to quote.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.parallel import default_workers
from common.study import Study, find_slides
from features.encoder import build_encoder, find_card
from features.runtime import _on_pytorch, _WithTransform, bind, default_batch, embed
from features.tile_stream import TileRequest, read_block, stream_blocks
from preprocessing.stain import REFERENCE, apply_map, stain_map
from preprocessing.tile_store import read_tile_sheet


def rate(n_tiles: int, work: Callable[[], object]) -> float:
    """Tiles a second, the better of two runs."""
    best = 0.0
    for _ in range(2):
        start = time.perf_counter()
        work()
        best = max(best, n_tiles / (time.perf_counter() - start))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=Path("study"))
    parser.add_argument("--slide", help="default: the slide with most tiles")
    arguments = parser.parse_args()
    study, threads = Study(arguments.study), default_workers()
    sheets = {path.stem: read_tile_sheet(path) for path in sorted(study.tiles.glob("*.h5"))}
    slide_id = arguments.slide or max(sheets, key=lambda name: len(sheets[name].coords))
    sheet = sheets[slide_id]
    colour = stain_map(sheet.stain, REFERENCE)
    coords = np.concatenate([sheet.coords] * -(-128 // len(sheet.coords)))
    request = TileRequest(
        name=slide_id, path=find_slides(study.slides)[slide_id], mpp=(sheet.mpp_x, sheet.mpp_y), coords=coords,
        tile_um=sheet.tile_um, tile_px=sheet.tile_px, colour=None,
    )  # fmt: skip
    n_tiles = len(coords)
    tiles = read_block(request, 0, n_tiles).tiles
    encoder = build_encoder(find_card("efficientnet_lite0"))
    runtime = bind(encoder, device="cpu", batch=default_batch("cpu"), tile_px=sheet.tile_px, threads=threads)
    embed(runtime, tiles[:32])
    network = rate(n_tiles, lambda: embed(runtime, tiles))
    plain = _on_pytorch(_WithTransform(encoder.network, encoder.card).eval(), 32, threads)
    pytorch = rate(64, lambda: embed(plain, tiles[:64]))
    reading = rate(n_tiles, lambda: read_block(request, 0, n_tiles))
    mapping = rate(n_tiles, lambda: apply_map(tiles, colour))

    def stream() -> None:
        import dataclasses

        mapped = dataclasses.replace(request, colour=colour)
        for _, outcome, _ in stream_blocks([mapped], workers=threads, ahead=6, timeout_s=300):
            embed(runtime, outcome.value.tiles)

    whole = rate(n_tiles, stream)
    print(f"{slide_id}, {sheet.mpp_x} mpp, {n_tiles} tiles of {sheet.tile_px} px, {threads} threads; {runtime.name}")
    for name, value in (
        ("network alone, OpenVINO float32", network),
        ("network alone, PyTorch float32 channels-last", pytorch),
        ("reading, one process", reading),
        ("colour map, one process", mapping),
        ("reading + colour + network, end to end", whole),
    ):
        print(f"  {name:46s} {value:8.1f} tiles/s")
    print(f"  OpenVINO / PyTorch {network / pytorch:.2f};  end to end / network alone {whole / network:.2f}")


if __name__ == "__main__":
    main()
