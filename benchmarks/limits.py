"""What this machine can do at most: bytes copied, matrix products, JPEG tiles decoded, bytes read again from the disk's cache.

    python benchmarks/limits.py [--json FILE]

One thread, best of five, by processor time. These are the figures that the other rows are to be seen against.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from benchmarks.rows import add_json, record, write_rows

SIDE, COPIED = 1024, 256 << 20


def best_s(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(5):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return max(min(spent), 1e-9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_json(parser)
    arguments = parser.parse_args()
    import torch
    from imagecodecs import jpeg_decode, jpeg_encode

    torch.set_num_threads(1)
    source = np.ones(COPIED, np.uint8)
    target = np.empty_like(source)
    copied = COPIED / best_s(lambda: np.copyto(target, source)) / 1e9
    one = torch.ones(SIDE, SIDE)
    products = 2 * SIDE**3 / best_s(lambda: one @ one) / 1e9
    noise = np.random.default_rng(0).integers(90, 230, (32, 32, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    stream = jpeg_encode(noise, level=85)
    decoded = 200 / best_s(lambda: [jpeg_decode(stream) for _ in range(200)])
    for what, figure in (
        ("memory copied, one thread", f"{copied:.1f} GB/s"),
        ("matrix products of 1,024 x 1,024, float32, one thread", f"{products:.0f} GFLOP/s"),
        ("JPEG tiles of 256 px decoded (quality 85, plain), one thread", f"{decoded:.0f} tiles/s"),
    ):
        print(f"{what}: {figure}")
        record("limits", what, figure)
    write_rows(arguments.json)


if __name__ == "__main__":
    main()
