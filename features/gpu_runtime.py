"""An encoder on a GPU: TF32, or half precision where it agrees with float32 on a sample; copies beside the arithmetic.

Two lanes, each with its own stream and pinned buffer, take turns: while one computes, the other's tiles cross. Resize,
colour map and normalisation run on the device on whole batches.
"""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from features.runtime import Lane, Runtime, WithTransform
from features.tile_pixels import Preparation, encoder_field, on_device

N_LANES = 2
MIN_COSINE = 0.999  # of float16 to float32, centred, for the worst tile of the sample


def on_gpu(module: WithTransform, batch: int, precision: str, sample: UInt8[np.ndarray, "n px px 3"] | None) -> Runtime:
    """Bind to the current GPU. "auto" takes float16 if it agrees with float32 on the sample, else TF32."""
    device = torch.device("cuda")
    module = module.to(device, torch.float32).to(memory_format=torch.channels_last)
    if precision == "auto":
        precision = agreeing_precision(module, sample, device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(precision, torch.float32)
    module = module.to(dtype)
    clock = BusyClock()
    turn = threading.Lock()
    lanes = [_lane(module, batch, device, clock, turn) for _ in range(N_LANES)]
    name = f"PyTorch {torch.__version__} {torch.cuda.get_device_name()}"
    return Runtime(name, precision, batch, lanes, busy_share=clock.share)


def agreeing_precision(
    module: WithTransform, sample: UInt8[np.ndarray, "n px px 3"] | None, device: torch.device,
    half: torch.dtype = torch.float16,
) -> str:  # fmt: skip
    """Return "float16" if it gives nearly the features of float32 on the sample, else "tf32"."""
    if sample is None or len(sample) < 2:
        return "tf32"
    tiles = encoder_field(torch.from_numpy(np.ascontiguousarray(sample)).to(device), module.card)
    with torch.inference_mode():
        expected = module(tiles).float()
        found = copy.deepcopy(module).to(half)(tiles).float()
    return "float16" if float(centred_cosine(expected, found).min()) >= MIN_COSINE else "tf32"


def centred_cosine(a: Float[torch.Tensor, "n dim"], b: Float[torch.Tensor, "n dim"]) -> Float[torch.Tensor, " n"]:
    """Return each row's cosine after the mean over rows of `a` is taken off both (features share a large mean)."""
    mean = a.mean(dim=0, keepdim=True)
    return torch.nn.functional.cosine_similarity(a - mean, b - mean, dim=1)


class BusyClock:
    """The share of time in which the device computed, from the two events around each batch (lanes take turns)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: Any = None
        self._busy_ms = self._last_ms = 0.0

    def add(self, start: Any, end: Any) -> None:
        """Add a batch's two events, both past."""
        with self._lock:
            self._first = self._first or start
            self._busy_ms += start.elapsed_time(end)
            self._last_ms = max(self._last_ms, self._first.elapsed_time(end))

    def share(self) -> float:
        """Return the busy share between the first batch's start and the last one's end, 0 to 1."""
        return self._busy_ms / self._last_ms if self._last_ms > 0 else 0.0


def _lane(module: WithTransform, batch: int, device: torch.device, clock: BusyClock, turn: threading.Lock) -> Lane:
    stream = torch.cuda.Stream(device)
    pinned: dict[tuple[int, ...], torch.Tensor] = {}

    def run(tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        shape = (batch, *tiles.shape[1:])
        if shape not in pinned:
            pinned.clear()
            pinned[shape] = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        pinned[shape].numpy()[: len(tiles)] = tiles
        with torch.inference_mode(), torch.cuda.stream(stream):
            pixels = pinned[shape].to(device, non_blocking=True)
            stream.synchronize()  # the copy, while the other lane computes
            with turn:
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record(stream)
                embeddings = module(encoder_field(on_device(pixels, how), module.card)).float()
                end.record(stream)
                result = embeddings.cpu().numpy()[: len(tiles)]
        clock.add(start, end)
        return result

    return run
