"""How fast this machine embeds and trains, tried for a few seconds with the encoder and the head that will be used."""

from __future__ import annotations

import time
from dataclasses import dataclass

from features.embedding.extraction_settings import ExtractionConfig
from mil.training.training_settings import TrainConfig

TRIED_S = 3.0  # of each
N_OUTPUTS = 5
WIDTH = 128  # hidden units of a subtype's head


@dataclass(frozen=True)
class EmbeddingRate:
    """Tiles a second, and where."""

    tiles_a_second: float
    device: str


def try_embedding(config: ExtractionConfig, tile_px: int) -> EmbeddingRate:
    """Embed noise by the first encoder for some seconds; reading the slides is not in it, and runs beside it.

    Raises:
        StudyError: the encoder is none, or its weights are not to be had.
    """
    import numpy as np

    from common.machine import default_workers
    from features.device.binding import bind, default_batch
    from features.device.runtime import embed
    from features.encoder.registry import build_encoder, find_card

    encoder = build_encoder(find_card(config.encoders[0]), config.weights)
    batch = config.batch or default_batch(config.device)
    runtime = bind(
        encoder, device=config.device, batch=batch, tile_px=tile_px, threads=config.threads or default_workers(),
        precision=config.precision,
    )  # fmt: skip
    tiles = np.random.default_rng(0).integers(0, 256, (4 * batch, tile_px, tile_px, 3), dtype=np.uint8)
    embed(runtime, tiles)  # the first call makes ready
    start, n_done = time.perf_counter(), 0
    while time.perf_counter() - start < TRIED_S:
        embed(runtime, tiles)
        n_done += len(tiles)
    return EmbeddingRate(n_done / (time.perf_counter() - start), runtime.name)


def try_training(config: TrainConfig, *, tiles_a_bag: float, dimension: int) -> float:
    """Return the seconds of one step of training: `batch_patients` bags of noise through the head, forward and back."""
    import numpy as np
    import torch

    from mil.heads.head import Rows
    from mil.heads.registry import make_head

    torch.set_num_threads(config.threads)
    rng = np.random.default_rng(0)
    n_tiles = max(1, min(config.max_tiles, round(tiles_a_bag)))
    bags = [
        Rows(torch.from_numpy(rng.normal(size=(n_tiles, dimension)).astype(np.float16)))
        for _ in range(config.batch_patients)
    ]
    labels = torch.arange(config.batch_patients) % N_OUTPUTS
    head = make_head(config.head, config.with_widths(WIDTH), n_inputs=dimension, n_outputs=N_OUTPUTS)
    head.prepare(lambda patient: bags[int(patient)].tiles.numpy(), [str(place) for place in range(len(bags))], rng)
    optimiser = torch.optim.AdamW(head.parameters())
    spent: list[float] = []
    head.train()
    while len(spent) < 2 or sum(spent) < TRIED_S:
        start = time.perf_counter()
        optimiser.zero_grad()
        outputs, own = head.taught(bags, labels)
        (torch.nn.functional.cross_entropy(outputs, labels) + own).backward()
        optimiser.step()
        spent.append(time.perf_counter() - start)
    return float(np.median(spent[1:]))
