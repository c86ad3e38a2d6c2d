"""A network bound to where it computes: OpenVINO or PyTorch on a CPU, GPUs otherwise."""

from __future__ import annotations

import sys

import torch

from common.failures import StudyError, machine_fault
from features.device.cpu import on_openvino, on_pytorch
from features.device.network import WithTransform, check_width
from features.device.runtime import Runtime
from features.encoder.card import PRECISIONS
from features.encoder.registry import Encoder


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
        StudyError: a GPU is asked for and there is none, a precision that the device has not, the network gives another
            width than its card says, or memory ran out.
    """
    assert precision in PRECISIONS
    module = WithTransform(encoder.network, encoder.card).eval()
    check_width(module, encoder.card.input_px or tile_px)
    if device != "cpu":
        from features.device.gpu import gpus_of, on_gpus

        if gpus := gpus_of(device):
            return on_gpus(module, batch, tile_px, precision, gpus)
    if precision not in ("auto", "float32", "bfloat16"):
        raise StudyError(f"--precision {precision} needs a GPU; a CPU has float32 and bfloat16")
    precision = "float32" if precision == "auto" else precision
    try:
        return on_openvino(module, batch, tile_px, threads, precision)
    except Exception as error:  # whatever OpenVINO cannot convert, PyTorch can run
        if (told := machine_fault(error)) is not None:  # run again, OpenVINO would do it: no file is made the other way
            raise StudyError(str(told)) from error
        print(f"OpenVINO cannot run {encoder.card.name} ({error}); PyTorch does, slower", file=sys.stderr)
        return on_pytorch(module, batch, threads, precision)


def default_batch(device: str) -> int:
    """Return the tiles of a batch: small on a CPU, where larger brings nothing and the last batch is filled up.

    On a GPU what the smallest block of tiles in common use has (64 of 512 px, or 64 read by regions): none is half empty.
    """
    return 64 if device != "cpu" and torch.cuda.is_available() else 8
