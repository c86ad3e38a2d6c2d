"""Cards of any network of timm and torchvision, by name."""

from __future__ import annotations

from collections.abc import Sequence

from common.failures import StudyError
from common.guards.names import nearest
from features.encoder.card import EncoderCard, folder_name
from features.encoder.networks import (
    Builder,
    timm_network,
    torchvision_network,
)


def timm_card(name: str) -> EncoderCard:
    """Return the card of any timm network, from timm's own record of its pretrained weights.

    Raises:
        StudyError: timm has no such network.
    """
    import timm

    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('.', maxsplit=1)[0].split('_', maxsplit=1)[0]}*")[:8])
        raise StudyError(f"timm has no network {name!r}; near ones: {near or 'none'}")
    record = timm.get_pretrained_cfg(name)
    build = timm_network(name)

    needs_size = bool(record.fixed_input_size)
    dimension = _width(build, record.input_size)  # num_features is not what every network returns
    return EncoderCard(
        name=folder_name(f"timm:{name}"), source=f"timm {name}", dimension=dimension, build=build, mpp=None,
        licence=record.license or "see its timm page", weights=f"timm:{name}", mean=record.mean, std=record.std,
        input_px=record.input_size[-1] if needs_size else None,
        interpolation="bicubic" if record.interpolation == "bicubic" else "bilinear",
        is_commercial="nc" not in (record.license or ""),
    )  # fmt: skip


def torchvision_card(name: str) -> EncoderCard:
    """Return the card of any torchvision classification network with its default ImageNet weights.

    Raises:
        StudyError: torchvision has no such network.
    """
    import torchvision

    try:
        weights = torchvision.models.get_model_weights(name).DEFAULT
    except ValueError as error:
        near = nearest(name, torchvision.models.list_models())
        raise StudyError(f"torchvision has no network {name!r}{near}; see torchvision.models.list_models()") from error
    transform = weights.transforms()
    side, is_fixed = transform.crop_size[0], name.startswith(("vit", "swin", "maxvit"))
    build = torchvision_network(name, **({"image_size": side} if name.startswith("vit") else {}))
    return EncoderCard(
        name=folder_name(f"torchvision:{name}"), source=f"torchvision {name}", dimension=_width(build, (3, side, side)),
        build=build, licence="BSD-3-Clause", weights=f"torchvision:{weights}", mean=tuple(transform.mean), std=tuple(transform.std),
        input_px=side if is_fixed else None, mpp=None,
    )  # fmt: skip


def _width(build: Builder, input_size: Sequence[int]) -> int:
    """Return how many numbers a network makes of a picture, without its arithmetic where that can be."""
    import torch

    for device in ("meta", "cpu"):
        try:
            with torch.device(device), torch.inference_mode():
                return int(build().eval()(torch.zeros(1, *input_size)).shape[-1])
        except NotImplementedError:  # a few networks compute their sizes by tensors
            continue
    raise AssertionError("a network on the CPU has no meta tensors")
