"""A tiny encoder, a painted slide and the jobs that embed its tiles; child processes of tests import them too."""

import dataclasses

import numpy as np
import torch

from features.embedding.jobs import Embedder, EmbeddingJob, PendingBag, ReadingSettings
from features.encoder.card import EncoderCard
from features.encoder.registry import Encoder
from features.store.provenance import Provenance
from features.stream.tile_reader import TileRequest
from preprocessing.synthetic.scanner import write_pyramid

MPP = 0.5
READING = ReadingSettings(workers=1, ahead=3, timeout_s=60)


def painted_slide(path, **options):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(40, 230, (128, 128, 3)), np.ones((16, 16, 1)))
    image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    write_pyramid(path, image, MPP, **options)
    return path


def request(path, tile_um=32.0, side=40, n=300, **changes):
    coords = np.stack([np.arange(n) % 20 * side, np.arange(n) // 20 * side], axis=1).astype(np.int64)
    whole = TileRequest(name="s", path=path, mpp=(MPP, MPP), coords=coords, tile_um=tile_um, tile_px=32, colour=None)
    return dataclasses.replace(whole, **changes)


def tiny_encoder(width=4, name="tiny"):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, width, 8, 8), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    card = EncoderCard(name=name, source="", dimension=width, licence="", build=lambda: network, weights="own")
    return Encoder(card, network.eval().requires_grad_(False), "0")


def job(folder, slide, runtime, names=("e",), **changes):
    own = request(slide, **changes)
    bags = [
        PendingBag(
            embedder=Embedder(name=name, runtime=runtime, provenance=Provenance(dimension=4)), path=folder / f"{name}.h5",
            wanted={"dimension": 4}, coords=own.coords, coords_attributes={}, image_index=np.empty(0, np.int64),
        )
        for name in names
    ]  # fmt: skip
    return EmbeddingJob(slide_id="s", requests=[own], bags=bags)
