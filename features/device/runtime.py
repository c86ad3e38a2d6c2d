"""An encoder bound to a device: uint8 tiles in, embeddings out, the encoder's own transform inside.

On a CPU OpenVINO in float32, one stream a processor (streams wait for nobody, so readers beside them cost only their own
share); PyTorch channels-last where OpenVINO is missing or cannot convert the network. On a GPU see `gpu_runtime`. Every
batch has the same shape (the last one is filled up), so a tile's embedding does not depend on its neighbours.
"""

from __future__ import annotations

import queue
import sys
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float16, Float32, UInt8

from common.failures import StudyError
from features.device.tile_pixels import Preparation, field_of_encoder, prepared
from features.encoder.registry import PRECISIONS, Encoder, EncoderCard
from features.stream.shared_ring import MemoryHolder

if TYPE_CHECKING:
    from features.device.gpu import BusyClock

Lane = Callable[[UInt8[np.ndarray, "n h w 3"], "Preparation | None"], Float32[np.ndarray, "n dim"]]


class Runtime:
    """A ready network. Name and precision go into the feature files; each lane embeds one batch at a time."""

    gpus: tuple[BusyClock, ...] = ()  # a clock a GPU; how many there are does not stand in files
    blocks_held = 1  # submitted blocks of tiles that keep every lane busy
    hold: MemoryHolder | None = None  # what is done with the memory that tiles come in, while they come

    def __init__(
        self, name: str, precision: str, batch: int, lanes: Sequence[Lane], *, threads_a_lane: int = 1,
        told: str = "",
    ) -> None:  # fmt: skip
        self.name, self.precision, self.batch = name, precision, batch
        self.told = told or precision  # on screen: the precision, and how it was chosen
        self._idle: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._idle.put(lane)
        self._pool = ThreadPoolExecutor(
            len(lanes), thread_name_prefix="embed", initializer=torch.set_num_threads, initargs=(threads_a_lane,)
        )

    def submit(self, tiles: UInt8[np.ndarray, "n h w 3"], how: Preparation | None = None) -> list[Future[np.ndarray]]:
        """Start embedding tiles, a future a batch; `how` they become the network's pixels (None: they are)."""
        futures = []
        for start in range(0, len(tiles), self.batch):
            stop = min(start + self.batch, len(tiles))
            own = None if how is None else how.part(start, stop)
            futures.append(self._pool.submit(self._embed, tiles[start:stop], own))
        return futures

    def _embed(self, tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        lane = self._idle.get()
        try:
            return lane(tiles, how)
        finally:
            self._idle.put(lane)


class WithTransform(torch.nn.Module):
    """The network behind its normalisation: uint8 (batch, height, width, 3) to embeddings (batch, dimension)."""

    def __init__(self, network: torch.nn.Module, card: EncoderCard) -> None:
        super().__init__()
        self.network, self.card = network, card
        self.shift: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("shift", torch.tensor(card.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(card.std).view(1, 3, 1, 1) * 255))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        """Scale to the encoder's mean and deviation, embed, and make one vector of the output."""
        pixels = tiles.permute(0, 3, 1, 2).to(self.shift.dtype)
        return pooled(self.network((pixels - self.shift) * self.scale), self.card)


def pooled(output: torch.Tensor, card: EncoderCard) -> torch.Tensor:
    """Return one vector a tile from a network's output: itself, its class token, its means, or both."""
    if card.pooling == "none":
        return output
    if card.pooling == "mean over positions":
        return output.mean(dim=(2, 3))
    mean = output[:, card.n_prefix_tokens :].mean(dim=1)
    if card.pooling == "mean":
        return mean
    return output[:, 0] if card.pooling == "cls" else torch.cat([output[:, 0], mean], dim=1)


def bind(encoder: Encoder, *, device: str, batch: int, tile_px: int, threads: int, precision: str = "auto") -> Runtime:
    """Prepare an encoder for a device.

    Args:
        encoder: network with weights.
        device: "auto" (every GPU, or the CPU where there is none), "cpu", "cuda" (every GPU) or "cuda:1".
        batch: tiles a batch.
        tile_px: side of a tile.
        threads: processor threads of the network on a CPU.
        precision: one of PRECISIONS; "auto" is float32 on a CPU; on a GPU float16 where it agrees with float32, else TF32.

    Raises:
        StudyError: a GPU is asked for and there is none, a precision that the device has not, or the network gives another
            width than its card says.
    """
    assert precision in PRECISIONS
    module = WithTransform(encoder.network, encoder.card).eval()
    _check_width(module, encoder.card.input_px or tile_px)
    if device != "cpu":
        from features.device.gpu import gpus_of, on_gpus

        if gpus := gpus_of(device):
            return on_gpus(module, batch, tile_px, precision, gpus)
    if precision not in ("auto", "float32", "bfloat16"):
        raise StudyError(f"--precision {precision} needs a GPU; a CPU has float32 and bfloat16")
    precision = "float32" if precision == "auto" else precision
    try:
        return _on_openvino(module, batch, tile_px, threads, precision)
    except Exception as error:  # whatever OpenVINO cannot convert, PyTorch can run
        print(f"OpenVINO cannot run {encoder.card.name} ({error}); PyTorch does, slower", file=sys.stderr)
        return _on_pytorch(module, batch, threads, precision)


def _check_width(module: WithTransform, side_px: int) -> None:
    """Embed one blank tile: rows of another shape would be cut and filled with each other's numbers."""
    with torch.inference_mode():
        shape = tuple(module(torch.zeros((1, side_px, side_px, 3), dtype=torch.uint8)).shape)
    if shape != (1, module.card.dimension):
        raise StudyError(
            f"{module.card.name} makes {' x '.join(map(str, shape[1:])) or 'nothing'} of a tile, its card says one row of "
            f"{module.card.dimension} numbers; correct the card's dimension or pooling, or the network"
        )


def streams_of(threads: int) -> int:
    """Return OpenVINO's streams: one a processor on small machines, one for four on large ones."""
    return threads if threads <= 4 else max(4, threads // 4)


def _on_openvino(module: WithTransform, batch: int, tile_px: int, threads: int, precision: str) -> Runtime:
    import openvino

    side = module.card.input_px or tile_px
    example = torch.zeros((batch, side, side, 3), dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        # OpenVINO's converter traces, which PyTorch 2.14 began to call deprecated; nothing to be done from here
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        graph = openvino.convert_model(module, example_input=example, input=[("tiles", list(example.shape))])
    n_streams = streams_of(threads)
    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]
    settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": n_streams}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)

    def lane() -> Lane:
        request, output = compiled.create_infer_request(), compiled.output(0)

        def run(tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
            pixels = _filled(field_of_encoder(prepared(tiles, how), module.card), batch)
            return np.array(request.infer([pixels])[output][: len(tiles)], dtype=np.float32)

        return run

    name = f"OpenVINO {openvino.__version__.split('-')[0]} CPU"
    return Runtime(name, precision, batch, [lane() for _ in range(n_streams)])


def _on_pytorch(module: WithTransform, batch: int, threads: int, precision: str) -> Runtime:
    module = module.to(memory_format=torch.channels_last)

    def run(tiles: np.ndarray, how: Preparation | None) -> np.ndarray:
        pixels = torch.from_numpy(_filled(field_of_encoder(prepared(tiles, how), module.card), batch))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return module(pixels)[: len(tiles)].float().numpy()

    return Runtime(f"PyTorch {torch.__version__} CPU", precision, batch, [run], threads_a_lane=threads)


def _filled(tiles: UInt8[np.ndarray, "n px px 3"], batch: int) -> UInt8[np.ndarray, "batch px px 3"]:
    if len(tiles) == batch:
        return np.ascontiguousarray(tiles)
    return np.concatenate([tiles, np.zeros((batch - len(tiles), *tiles.shape[1:]), np.uint8)])


def embed(
    runtime: Runtime, tiles: UInt8[np.ndarray, "n h w 3"], how: Preparation | None = None
) -> Float16[np.ndarray, "n dim"]:
    """Embed any number of tiles and wait for them; float16 keeps embeddings to a relative error of 0.05 %.

    Raises:
        ValueError: an embedding is not finite or too large for float16 (the encoder or its weights are wrong).
    """
    return to_float16(np.concatenate([part.result() for part in runtime.submit(tiles, how)]))


def to_float16(features: Float32[np.ndarray, "n dim"]) -> Float16[np.ndarray, "n dim"]:
    """Narrow to float16, or say that the values do not fit."""
    if not np.isfinite(features).all() or np.abs(features).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(
            "embeddings are not finite or exceed float16; check the encoder's weights, or try --precision float32"
        )
    return features.astype(np.float16)


def default_batch(device: str) -> int:
    """Return the tiles of a batch: small on a CPU, where larger brings nothing and the last batch is filled up.

    On a GPU what the smallest block of tiles in common use has (64 of 512 px, or 64 read by regions): none is half empty.
    """
    return 64 if device != "cpu" and torch.cuda.is_available() else 8
