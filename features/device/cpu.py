"""A network on a CPU: OpenVINO's float32, or plain PyTorch."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import UInt8

from features.device.network import WithTransform
from features.device.quiet_converter import import_openvino
from features.device.runtime import Lane, Runtime
from features.device.tile_pixels import Preparation, field_of_encoder, prepared


def streams_of(threads: int) -> int:
    """Return OpenVINO's streams: one a processor on small machines, one for four on large ones."""
    return threads if threads <= 4 else max(4, threads // 4)


def on_openvino(module: WithTransform, batch: int, tile_px: int, threads: int, precision: str) -> Runtime:
    """Convert a network to OpenVINO and compile it, one stream a processor."""
    openvino = import_openvino()
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


def on_pytorch(module: WithTransform, batch: int, threads: int, precision: str) -> Runtime:
    """Run a network by PyTorch itself, channels last."""
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
