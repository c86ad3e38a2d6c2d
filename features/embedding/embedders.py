"""Encoders made ready to embed: built, bound to a device, described for the feature file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.machine import default_workers
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.jobs import Embedder
from features.encoder.card import EncoderCard
from features.store.provenance import Provenance

if TYPE_CHECKING:
    from features.device.runtime import Runtime


def encoder_provenance(card: EncoderCard, weights_sha256: str, runtime: Runtime) -> Provenance:
    """Return what every feature file says of the network that made it."""
    return Provenance(
        encoder=card.name, encoder_source=card.source, weights_sha256=weights_sha256, licence=card.licence,
        dimension=card.dimension, transform=card.transform, runtime=runtime.name, precision=runtime.precision,
    )  # fmt: skip


def ready_embedder(card: EncoderCard, config: ExtractionConfig, tile_px: int) -> Embedder:
    """Build an encoder with its weights, bind it to the device, and say so, with its licence."""
    from features.device.binding import bind, default_batch
    from features.encoder.registry import build_encoder

    encoder = build_encoder(card, config.weights)
    runtime = bind(
        encoder, device=config.device, batch=config.batch or default_batch(config.device), tile_px=tile_px,
        threads=config.threads or default_workers(), precision=config.precision,
    )  # fmt: skip
    print(f"{card.name} ({card.licence}) on {runtime.name}, {runtime.description}", flush=True)
    if not card.is_commercial:
        print(
            f"{card.name}: its licence ({card.licence}) does not allow commercial use, and may bind what is made from its "
            f"features; see {card.source}",
            flush=True,
        )
    provenance = encoder_provenance(card, encoder.weights_sha256, runtime)
    return Embedder(name=card.name, runtime=runtime, provenance=provenance)


def scale_note(card: EncoderCard, tile_um: float, tile_px: int) -> str:
    """Say that tiles reach an encoder of histology at another scale than it was trained at; empty where they do not."""
    side_px = card.resize_px or card.input_px or tile_px
    if card.mpp is None or 1 / 1.5 < tile_um / side_px / card.mpp < 1.5:
        return ""
    return (
        f"{card.name} was trained at {card.mpp:g} µm a pixel; tiles of {tile_um:g} µm reach it at {tile_um / side_px:.2f}. For its "
        f"own scale tile with --tile_um {side_px * card.mpp:g}"
    )
