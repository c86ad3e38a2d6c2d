"""An encoder bound to a device: uint8 tiles in, embeddings out, the encoder's own transform inside the graph.

On a CPU OpenVINO in float32, about four times PyTorch's speed for EfficientNet-Lite0 on two cores; PyTorch channels-last
where OpenVINO is missing or cannot convert the network. On a GPU PyTorch in float16. Every batch has the same shape (the
last one is filled up), so a tile's embedding does not depend on how many tiles its slide has.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float16, Float32, UInt8

from common.failures import StudyError
from features.encoder import Encoder, EncoderCard


@dataclass(frozen=True)
class Runtime:
    """A ready network: `run` embeds one full batch; name and precision go into the feature files."""

    name: str
    precision: str
    batch: int
    run: Callable[[np.ndarray], np.ndarray]


class _WithTransform(torch.nn.Module):
    """The network behind its transform: uint8 (batch, height, width, 3) to embeddings (batch, dimension)."""

    def __init__(self, network: torch.nn.Module, card: EncoderCard) -> None:
        super().__init__()
        self.network = network
        self.shift: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("shift", torch.tensor(card.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(card.std).view(1, 3, 1, 1) * 255))

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        pixels = tiles.permute(0, 3, 1, 2).to(self.shift.dtype)
        return self.network((pixels - self.shift) * self.scale)


def bind(encoder: Encoder, *, device: str, batch: int, tile_px: int, threads: int) -> Runtime:
    """Bind an encoder to a device.

    Args:
        encoder: network with weights.
        device: "auto" (a GPU if there is one), "cpu" or "cuda".
        batch: tiles a batch.
        tile_px: side of a tile.
        threads: processor threads of the network on a CPU.

    Raises:
        StudyError: a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise StudyError("--device cuda, but PyTorch sees no GPU here; use --device cpu, or check the driver")
    module = _WithTransform(encoder.network, encoder.card).eval()
    if device == "cuda" or (device == "auto" and has_gpu):
        return _on_gpu(module, batch)
    try:
        return _on_openvino(module, batch, tile_px, threads)
    except Exception as error:  # whatever OpenVINO cannot convert, PyTorch can run
        print(f"OpenVINO cannot run {encoder.card.name} ({error}); PyTorch does, slower", file=sys.stderr)
        return _on_pytorch(module, batch, threads)


def _on_openvino(module: torch.nn.Module, batch: int, tile_px: int, threads: int) -> Runtime:
    import openvino

    example = torch.zeros((batch, tile_px, tile_px, 3), dtype=torch.uint8)
    with torch.inference_mode(), warnings.catch_warnings():
        # OpenVINO's converter traces, which PyTorch 2.14 began to call deprecated; nothing to be done from here
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=DeprecationWarning)
        graph = openvino.convert_model(module, example_input=example, input=[("tiles", list(example.shape))])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    compiled = openvino.Core().compile_model(graph, "CPU", settings)
    request = compiled.create_infer_request()

    def run(tiles: np.ndarray) -> np.ndarray:
        return np.array(request.infer([tiles])[compiled.output(0)], dtype=np.float32)

    return Runtime(f"OpenVINO {openvino.__version__.split('-')[0]} CPU", "float32", batch, run)


def _on_pytorch(module: torch.nn.Module, batch: int, threads: int) -> Runtime:
    torch.set_num_threads(threads)
    module = module.to(memory_format=torch.channels_last)

    def run(tiles: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(tiles)).numpy()

    return Runtime(f"PyTorch {torch.__version__} CPU", "float32", batch, run)


def _on_gpu(module: torch.nn.Module, batch: int) -> Runtime:
    module = module.to("cuda", torch.float16).to(memory_format=torch.channels_last)

    def run(tiles: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(tiles).cuda(non_blocking=True)).float().cpu().numpy()

    return Runtime(f"PyTorch {torch.__version__} {torch.cuda.get_device_name()}", "float16", batch, run)


def embed(runtime: Runtime, tiles: UInt8[np.ndarray, "n px px 3"]) -> Float16[np.ndarray, "n dim"]:
    """Embed any number of tiles in full batches; float16 keeps embeddings to a relative error of 0.05 %.

    Raises:
        ValueError: an embedding is not finite or too large for float16 (the encoder or its weights are wrong).
    """
    parts = []
    for start in range(0, len(tiles), runtime.batch):
        part = tiles[start : start + runtime.batch]
        n_real = len(part)
        if n_real < runtime.batch:
            part = np.concatenate([part, np.zeros((runtime.batch - n_real, *part.shape[1:]), np.uint8)])
        parts.append(runtime.run(np.ascontiguousarray(part))[:n_real])
    return to_float16(np.concatenate(parts))


def to_float16(features: Float32[np.ndarray, "n dim"]) -> Float16[np.ndarray, "n dim"]:
    """Narrow to float16, or say that the values do not fit."""
    if not np.isfinite(features).all() or np.abs(features).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError("embeddings are not finite or exceed float16; check the encoder's weights")
    return features.astype(np.float16)


def default_batch(device: str) -> int:
    """Return the tiles of a batch: small on a CPU, where larger brings nothing and the last batch is filled up."""
    return 128 if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else 8
