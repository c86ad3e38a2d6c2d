"""An encoder on one or several GPUs: copies of tiles cross while others are computed, every GPU takes the next batch.

Each GPU has a copy of the network and two lanes, each with its own stream and pinned buffer, that take turns: while one
computes, the other's tiles cross. Resize, colour map and normalisation run on the device on whole batches. No slide is
bound to a GPU, so none waits for the last slide of another. What only CUDA has stands in `Gpu`; the rest runs, and is
tested, on any device.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from common.failures import StudyError
from features.gpu_precision import DTYPES, agreement, allow_tf32
from features.painted_tiles import painted_tiles
from features.runtime import Lane, Runtime, WithTransform
from features.tile_pixels import Preparation, encoder_field, on_device

N_LANES = 2  # of a GPU
QUEUED_BLOCKS = 2  # beyond one a lane: submitted, so that no lane waits for the loop


class BusyClock:
    """The share of time in which the device computed, from the two events around each batch (lanes take turns)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: Any = None
        self._busy_ms = self._last_ms = 0.0

    def add(self, start: Any, end: Any) -> None:
        """Add a batch's two events, both past."""
        with self._lock:
            if self._first is None:
                self._first = start
            self._busy_ms += start.elapsed_time(end)
            self._last_ms = max(self._last_ms, self._first.elapsed_time(end))

    def share(self) -> float:
        """Return the busy share between the first batch's start and the last one's end, 0 to 1."""
        return self._busy_ms / self._last_ms if self._last_ms > 0 else 0.0


class Gpu:
    """A GPU: what only CUDA has, and what all encoders on it share: whose turn it is, and how long it computed."""

    def __init__(self, index: int) -> None:
        self.device = torch.device("cuda", index)
        self.name: str = torch.cuda.get_device_name(index)
        self.has_tf32: bool = torch.cuda.get_device_capability(index) >= (8, 0)
        self.turn, self.clock = threading.Lock(), BusyClock()

    def stream(self) -> Any:
        """Return a new stream."""
        return torch.cuda.Stream(self.device)

    def event(self) -> Any:
        """Return an event that keeps the time."""
        return torch.cuda.Event(enable_timing=True)

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        """Make the device and the stream this thread's current ones."""
        with torch.cuda.device(self.device), torch.cuda.stream(stream):
            yield

    def host_buffer(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return uint8 memory that the device can fetch from by itself."""
        return torch.zeros(shape, dtype=torch.uint8, pin_memory=True)


@functools.cache
def _gpu(index: int) -> Gpu:
    return Gpu(index)


def gpus_of(device: str) -> list[Gpu]:
    """Return the GPUs that a `--device` stands for; none for a CPU.

    Args:
        device: "cpu"; "auto" or "cuda", all GPUs that CUDA_VISIBLE_DEVICES leaves; "cuda:1", that one.

    Raises:
        StudyError: a GPU is asked for that is not there.
    """
    n_gpus = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    if n_gpus == 0:
        if device.startswith("cuda"):
            raise StudyError(
                f"--device {device}, but PyTorch sees no GPU here; use --device cpu, or check driver and PyTorch build"
            )
        return []
    index = device.partition(":")[2]
    if index and int(index) >= n_gpus:
        raise StudyError(
            f"--device {device}, but PyTorch sees {n_gpus} GPU(s), cuda:0 to cuda:{n_gpus - 1}; "
            f"CUDA_VISIBLE_DEVICES may hide others"
        )
    return alike([_gpu(int(index))] if index else [_gpu(number) for number in range(n_gpus)])


def alike(gpus: list[Gpu]) -> list[Gpu]:
    """Return the GPUs of the first one's model, and say which are left out: two models may round differently."""
    others = sorted({gpu.name for gpu in gpus} - {gpus[0].name})
    if others:
        print(
            f"only GPUs of one model are used together: {gpus[0].name}; left out: {', '.join(others)} "
            f"(CUDA_VISIBLE_DEVICES or --device cuda:N chooses)",
            flush=True,
        )
    return [gpu for gpu in gpus if gpu.name == gpus[0].name]


def on_gpus(module: WithTransform, batch: int, precision: str, gpus: Sequence[Gpu]) -> Runtime:
    """Bind to GPUs of one model; "auto" takes float16 if it agrees with float32 on painted tiles, else TF32.

    Raises:
        StudyError: TF32 is asked for and the GPUs have it not.
    """
    first = gpus[0]
    if precision == "tf32" and not first.has_tf32:
        raise StudyError(f"--precision tf32, but {first.name} has no TF32; use float16, float32 or auto")
    module = module.to(first.device, torch.float32).to(memory_format=torch.channels_last)
    told = ""
    if precision == "auto":
        measured = agreement(module, painted_tiles())
        precision = "float16" if measured.is_close else "tf32" if first.has_tf32 else "float32"
        told = f" ({measured})"
    if DTYPES[precision] is torch.float32:  # a switch of the whole process: half precision leaves it to other encoders
        allow_tf32(precision == "tf32")
    module = module.to(DTYPES[precision])
    networks = [module, *(copy.deepcopy(module).to(gpu.device) for gpu in gpus[1:])]
    pairs = list(zip(gpus, networks, strict=True)) * N_LANES  # GPU after GPU: the first batches go to different ones
    count = "" if len(gpus) == 1 else f"{len(gpus)} GPUs, "
    return Runtime(
        f"PyTorch {torch.__version__} {first.name}", precision, batch,
        [lane_on(gpu, network, batch) for gpu, network in pairs],
        told=f"{count}{precision}{told}", gpus=[gpu.clock for gpu in gpus], blocks_held=len(pairs) + QUEUED_BLOCKS,
    )  # fmt: skip


def lane_on(gpu: Gpu, module: WithTransform, batch: int) -> Lane:
    """Return a lane of a GPU: tiles to pinned memory, across, and in its turn through the network and back.

    A turn ends when the embeddings are on the host: nothing of it is left on the device that another lane, of this or
    another encoder, could free (a colour table) or overtake, and the clock's intervals cannot overlap.
    """
    stream = gpu.stream()
    buffers: dict[tuple[int, ...], torch.Tensor] = {}

    def run(tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        shape = (batch, *tiles.shape[1:])
        with gpu.on(stream), torch.inference_mode():
            if shape not in buffers:
                buffers.clear()
                buffers[shape] = gpu.host_buffer(shape)
            buffers[shape].numpy()[: len(tiles)] = tiles  # what a last batch leaves over is computed and not looked at
            pixels = buffers[shape].to(gpu.device, non_blocking=True)
            stream.synchronize()  # the copy, while the other lane computes
            with gpu.turn:
                start, end = gpu.event(), gpu.event()
                start.record(stream)
                embeddings = module(encoder_field(on_device(pixels, how), module.card)).float()
                end.record(stream)
                result = embeddings.cpu().numpy()[: len(tiles)]  # waits
                gpu.clock.add(start, end)
        return result

    def run_in_memory(tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        try:
            return run(tiles, how)
        except torch.cuda.OutOfMemoryError as error:
            raise StudyError(
                f"a batch of {batch} tiles does not fit into the memory of {gpu.name}; give a smaller --batch "
                f"({str(error).splitlines()[0]})"
            ) from error

    return run_in_memory
