"""Vision transformers as Hugging Face's transformers names their weights (ViT, DINOv2, with registers or not), for timm's networks.

The files on the hub keep these names whatever the version of transformers; the networks are the same ones under other
names, so the package itself is not needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PATCHES = "embeddings.patch_embeddings.projection.weight"
NAMES = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"\.layernorm_before\.", ".norm1."),  # of ViT
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),  # SwiGLU of DINOv2: both halves in one matrix, as timm has it
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
)


def is_of_transformers(state: dict[str, torch.Tensor]) -> bool:
    """Whether a state dict has the names of transformers' vision transformers."""
    return any(name.endswith(PATCHES) for name in state)


def under_timm_names(state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state under timm's names; what timm has no name for keeps its own.

    Args:
        state: names to tensors, as transformers writes them.
        wanted: the network's own state: whether its class token has a position of its own depends on the network.
    """
    import torch

    prefix = next(name for name in state if name.endswith(PATCHES)).removesuffix(PATCHES)
    renamed: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        short = name.removeprefix(prefix)
        for pattern, new in NAMES:
            short = re.sub(pattern, new, short)
        renamed[short] = value
    for name in [name for name in renamed if ".attn.query." in name]:
        parts = [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
        if all(part in renamed for part in parts):
            renamed[name.replace(".query.", ".qkv.")] = torch.cat([renamed.pop(part) for part in parts])
    positions, token = renamed.get("pos_embed"), renamed.get("cls_token")
    if positions is None or token is None or "pos_embed" not in wanted:
        return renamed
    if positions.shape[1] == wanted["pos_embed"].shape[1] + 1:  # timm adds no position to the class token: it is in it
        renamed["cls_token"], renamed["pos_embed"] = token + positions[:, :1], positions[:, 1:]
    return renamed
