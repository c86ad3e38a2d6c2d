"""The tables of slides' colour maps on each device: made once a slide, the last few kept.

A map in optical density is a product of factors, so a GPU makes its table of all 256^3 colours by itself in single
operations of float32, which round as the processor's: the same bytes. Reinhard's is made on the processor and copied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import torch
from cachetools import LRUCache
from jaxtyping import Int

from preprocessing.colour.colour_formula import Factors, StainMap
from preprocessing.colour.colour_map import colour_factors, colour_table

KEPT_TABLES = 2  # of the CPU: the slide's that is being finished and the next one's, 64 MB each
KEPT_ON_GPU = 8  # of each GPU: those of all blocks on their way, however small their slides


class _Tables:
    """A device's tables of the slides at hand, by map; who needs one while it is being made waits for it.

    Who uses one on a GPU holds it until the device has finished: only then may its memory become another's.
    """

    def __init__(self, n_kept: int) -> None:
        self._lock = threading.Lock()
        self._kept: LRUCache[tuple[object, ...], torch.Tensor] = LRUCache(maxsize=n_kept)

    def table(self, key: tuple[object, ...], make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Return the table of a map, made if it is not kept; the one used longest ago goes."""
        with self._lock:
            if key not in self._kept:
                while len(self._kept) >= self._kept.maxsize:  # before it is made, so that memory has room for it
                    self._kept.popitem()
                self._kept[key] = make()
            return self._kept[key]


_TABLES: dict[str, _Tables] = {}  # by device


def table_of(colour: StainMap, device: str = "cpu") -> Int[torch.Tensor, " colours"]:
    """Return the `colour_table` of a map on a device, its words as int32; the last few of each device are kept."""

    def made() -> torch.Tensor:
        if device == "cpu":
            return torch.from_numpy(colour_table(colour).view(np.int32))
        factors = colour_factors(colour)
        return table_of(colour).to(device) if factors is None else table_of_factors(factors, torch.device(device))

    key = (colour.matrix.tobytes(), colour.shift.tobytes(), colour.glass, colour.space)
    return _TABLES.setdefault(device, _Tables(KEPT_TABLES if device == "cpu" else KEPT_ON_GPU)).table(key, made)


def table_of_factors(factors: Factors, device: torch.device) -> Int[torch.Tensor, " colours"]:
    """Return the table of a map, made on the device, and finished when this returns."""
    red_green, of_blue = (torch.from_numpy(values).to(device) for values in (factors.red_green, factors.blue))
    table = torch.zeros((256, 65_536), dtype=torch.int32, device=device)
    for channel in range(3):
        values = of_blue[channel][:, None] * red_green[channel]
        values.sub_(0.5).clamp_(0, 255)  # + 0.5 to round, - 1 of the density's convention
        table |= values.to(torch.int32) << 8 * channel
    cube = torch.from_numpy(factors.near_glass).to(device, torch.int32).permute(2, 1, 0, 3)
    red, green, blue = factors.first
    near = cube[..., 0] | cube[..., 1] << 8 | cube[..., 2] << 16
    table.view(256, 256, 256)[blue:, green:, red:] = near
    if device.type == "cuda":  # other streams take it as it is
        torch.cuda.current_stream(device).synchronize()
    return table.view(-1)
