"""Which precision a GPU computes an encoder in: float16 where it gives float32's embeddings, else TF32.

Embeddings share a large mean, beside which differences vanish in a plain cosine; so it is taken off first. A value that
overflows float16 makes the cosine undefined, which counts as disagreement.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8

from features.device.tile_pixels import encoder_field

if TYPE_CHECKING:
    from features.device.network import WithTransform

MIN_COSINE = 0.999  # of float16 to float32, centred, for the worst tile
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "tf32": torch.float32}


@dataclass(frozen=True)
class Agreement:
    """How near half precision comes to float32: the lowest centred cosine over tiles; NaN where one is undefined."""

    cosine: float
    n_tiles: int
    reason: str = ""  # why there is no cosine

    @property
    def is_close(self) -> bool:
        """Whether half precision may stand for float32."""
        return self.cosine >= MIN_COSINE  # false for NaN

    def __str__(self) -> str:
        """Say what was measured."""
        if self.reason:
            return f"float16 cannot be used: {self.reason}"
        if not np.isfinite(self.cosine):
            return "float16 overflows"
        return f"lowest centred cosine of float16 to float32 {self.cosine:.6f} on {self.n_tiles} painted tiles"


def agreement(
    module: WithTransform, tiles: UInt8[np.ndarray, "n px px 3"], half: torch.dtype = torch.float16
) -> Agreement:
    """Compare a float32 network, where it is, with its copy in half precision.

    Args:
        module: the network in float32, on its device.
        tiles: two or more different tiles.
        half: the other precision.

    Raises:
        torch.cuda.OutOfMemoryError: the choice must not depend on what else runs on the device.
    """
    pixels = torch.from_numpy(tiles).to(module.shift.device)
    with torch.inference_mode(), exact_float32():
        pixels = encoder_field(pixels, module.card)
        expected = module(pixels).float()
    try:
        halved = copy.deepcopy(module).to(half)
        with torch.inference_mode():
            found = halved(pixels).float()
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:  # parts that stay in float32 whatever one says
        return Agreement(float("nan"), len(tiles), str(error).splitlines()[0])
    return Agreement(float(centred_cosine(expected, found).min()), len(tiles))


def centred_cosine(a: Float[torch.Tensor, "n dim"], b: Float[torch.Tensor, "n dim"]) -> Float[torch.Tensor, " n"]:
    """Return each row's cosine after the mean over rows of `a` is taken off both; in float64."""
    a, b = a.double(), b.double()
    mean = a.mean(dim=0, keepdim=True)
    return torch.nn.functional.cosine_similarity(a - mean, b - mean, dim=1)


def allow_tf32(is_allowed: bool) -> None:
    """Let products of matrices and convolutions in float32 round their factors to TF32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = is_allowed


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute float32 without TF32 (convolutions use it unless told not to); puts things back as they were."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    allow_tf32(False)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
