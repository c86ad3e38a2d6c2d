"""An encoder on one or several GPUs: copies of tiles cross while others are computed, every GPU takes the next batch.

Each GPU has a copy of the network and several lanes with a stream each: while a batch is computed, the tiles of the next
ones cross from the pinned memory that readers write to, are resized and their colours mapped on the device. The network
itself is recorded once as a graph and replayed, on one stream a GPU, where the next batch waits behind the one that is
computed. No slide is bound to a GPU, so none waits for the last slide of another. What only CUDA has stands in `Gpu`; the
rest runs, and is tested, on any device.
"""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
import torch
from jaxtyping import UInt8

from common.failures import StudyError
from features.device.gpu_precision import DTYPES, agreement, allow_tf32
from features.device.network import WithTransform
from features.device.painted_tiles import painted_tiles
from features.device.runtime import BusyClock, Lane, Runtime
from features.device.tile_pixels import Preparation, encoder_field, on_device, table_for
from features.encoder.card import EncoderCard

N_LANES = 3  # of a GPU
WARM_UPS = 3  # of a network before it is recorded: libraries choose their kernels
CUDA_HOST_REGISTER_PORTABLE = 1  # cudaHostRegisterPortable of CUDA's runtime: pinned for all GPUs
QUEUED_BLOCKS = 2  # beyond one a lane: submitted, so that no lane waits for the loop
Network = Callable[[torch.Tensor], torch.Tensor]  # uint8 fields on a device to float32 embeddings there


class Gpu:
    """A GPU: what only CUDA has, and what all encoders on it share: whose turn it is, and how long it computed."""

    def __init__(self, index: int) -> None:
        self.device = torch.device("cuda", index)
        self.name: str = torch.cuda.get_device_name(index)
        self.has_tf32: bool = torch.cuda.get_device_capability(index) >= (8, 0)
        self.turn, self.clock, self.computing = threading.Lock(), BusyClock(), self.stream()

    def stream(self) -> torch.cuda.Stream:
        """Return a new stream."""
        return torch.cuda.Stream(self.device)

    def event(self) -> torch.cuda.Event:
        """Return an event that keeps the time."""
        return torch.cuda.Event(enable_timing=True)

    @contextmanager
    def on(self, stream: torch.cuda.Stream) -> Iterator[None]:
        """Make the device and the stream this thread's current ones."""
        with torch.cuda.device(self.device), torch.cuda.stream(stream):
            yield

    def recorded(self, network: Network, pixels: UInt8[torch.Tensor, "batch px px 3"]) -> Network:
        """Return the network as one graph for batches of this shape: launched at once, not kernel by kernel.

        Results lie in one place, where the next batch's will; a network that cannot be recorded is returned as it is.
        """
        graph = torch.cuda.CUDAGraph()
        with self.on(self.computing), torch.inference_mode():
            for _ in range(WARM_UPS):
                network(pixels)
            try:
                with torch.cuda.graph(graph, stream=self.computing, capture_error_mode="thread_local"):
                    embeddings = network(pixels)
            except torch.cuda.OutOfMemoryError:
                raise
            except RuntimeError as error:  # it waits for the device, or asks it for sizes
                print(
                    f"no graph of the network, kernels are launched one by one ({str(error).splitlines()[0]})",
                    flush=True,
                )
                torch.cuda.synchronize()
                return network

        def replay(batch: torch.Tensor) -> torch.Tensor:
            pixels.copy_(batch)
            graph.replay()
            return embeddings

        return replay


@contextmanager
def pinned(memory: UInt8[np.ndarray, " n"]) -> Iterator[None]:
    """Let every GPU fetch from this memory by itself while the processor does something else; else it copies for them."""
    runtime, address = torch.cuda.cudart(), memory.ctypes.data
    code = int(runtime.cudaHostRegister(address, memory.nbytes, CUDA_HOST_REGISTER_PORTABLE))
    if code != 0:
        print(f"the readers' memory cannot be pinned (CUDA error {code}); copies to the GPU are slower", flush=True)
        with suppress(RuntimeError):  # takes note of the error, which the next kernel would be blamed for
            torch.zeros(1, device="cuda")
    try:
        yield
    finally:
        if code == 0:
            runtime.cudaHostUnregister(address)


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


def on_gpus(module: WithTransform, batch: int, tile_px: int, precision: str, gpus: Sequence[Gpu]) -> Runtime:
    """Bind to GPUs of one model; "auto" takes float16 if it agrees with float32 on painted tiles, else TF32.

    Args:
        module: the network, in evaluation mode.
        batch: tiles a batch.
        tile_px: side of a tile.
        precision: one of PRECISIONS.
        gpus: one or more.

    Raises:
        StudyError: TF32 is asked for and the GPUs have it not.
    """
    first = gpus[0]
    if precision == "tf32" and not first.has_tf32:
        raise StudyError(f"--precision tf32, but {first.name} has no TF32; use float16, float32 or auto")
    module = module.to(first.device, torch.float32).to(memory_format=torch.channels_last)
    how_chosen = ""
    if precision == "auto":
        measured = agreement(module, painted_tiles())
        precision = "float16" if measured.is_close else "tf32" if first.has_tf32 else "float32"
        how_chosen = f" ({measured})"
    if DTYPES[precision] is torch.float32:  # a switch of the whole process: half precision leaves it to other encoders
        allow_tf32(precision == "tf32")
    module = module.to(DTYPES[precision])
    modules = [module, *(copy.deepcopy(module).to(gpu.device) for gpu in gpus[1:])]
    with _memory_for(batch, first):
        networks = [network_on(gpu, own, batch, tile_px) for gpu, own in zip(gpus, modules, strict=True)]
    pairs = list(zip(gpus, networks, strict=True)) * N_LANES  # GPU after GPU: the first batches go to different ones
    count = "" if len(gpus) == 1 else f"{len(gpus)} GPUs, "
    return GpuRuntime(
        f"PyTorch {torch.__version__} {first.name}", precision, batch, gpus,
        [lane_on(gpu, network, module.card, batch) for gpu, network in pairs], description=f"{count}{precision}{how_chosen}",
    )  # fmt: skip


class GpuRuntime(Runtime):
    """A network on GPUs; a slide's colour table is made for every GPU while the tiles before it are embedded."""

    def __init__(
        self,
        name: str,
        precision: str,
        batch: int,
        gpus: Sequence[Gpu],
        lanes: Sequence[Lane],
        *,
        description: str = "",
    ) -> None:
        super().__init__(name, precision, batch, lanes, description=description)
        self.gpus, self.blocks_held = tuple(gpu.clock for gpu in gpus), len(lanes) + QUEUED_BLOCKS
        self.memory_holder = pinned
        self._devices = [gpu.device for gpu in gpus]
        self._table_maker = ThreadPoolExecutor(1, thread_name_prefix="tables")

    def submit(self, tiles: UInt8[np.ndarray, "n h w 3"], how: Preparation | None = None) -> list[Future[np.ndarray]]:
        """Start embedding tiles, a future a batch, and have their colour table made before a lane needs it."""
        for device in self._devices:
            self._table_maker.submit(table_for, how, device)  # a lane that needs it sooner makes it, or waits
        return super().submit(tiles, how)


def network_on(gpu: Gpu, module: WithTransform, batch: int, tile_px: int) -> Network:
    """Return a network that is on a GPU, recorded for batches of its fields of tiles."""
    side = module.card.input_px or tile_px
    pixels = torch.zeros((batch, side, side, 3), dtype=torch.uint8, device=gpu.device)
    return gpu.recorded(lambda fields: module(fields).float(), pixels)


def lane_on(gpu: Gpu, network: Network, card: EncoderCard, batch: int) -> Lane:
    """Return a lane of a GPU: tiles across and to the network's pixels, then in turn through it, and back.

    In its turn a lane only says what is to be done; the device does the lanes' batches one after the other.
    """
    stream = gpu.stream()

    def run(tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        table = table_for(how, gpu.device)  # held here until the device has finished with it
        with torch.inference_mode():
            with gpu.on(stream):
                # what a last batch leaves over is computed and not looked at
                pixels = torch.empty((batch, *tiles.shape[1:]), dtype=torch.uint8, device=gpu.device)
                pixels[: len(tiles)].copy_(torch.from_numpy(tiles), non_blocking=True)
                fields = encoder_field(on_device(pixels, how, table), card)
                is_ready = gpu.event()
                is_ready.record(stream)
            with gpu.turn, gpu.on(gpu.computing):
                gpu.computing.wait_event(is_ready)
                start, end = gpu.event(), gpu.event()
                start.record(gpu.computing)
                embeddings = network(fields)[: len(tiles)].clone()  # a graph's next results come to the same place
                end.record(gpu.computing)
            end.synchronize()
            gpu.clock.add(start, end)
            with gpu.on(stream):
                return embeddings.cpu().numpy()

    def run_in_memory(tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        with _memory_for(batch, gpu):
            return run(tiles, how)

    return run_in_memory


@contextmanager
def _memory_for(batch: int, gpu: Gpu) -> Iterator[None]:
    """Say what helps when a batch does not fit."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise StudyError(
            f"a batch of {batch} tiles does not fit into the memory of {gpu.name}; give a smaller --batch "
            f"({str(error).splitlines()[0]})"
        ) from error
