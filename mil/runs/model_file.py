"""The model file: one safetensors file with the head's weights and, as JSON, all that a prediction needs to know.

It is made to be given away, so no patient stands in it: who trained it stands in the fold's record beside it in the run.

No pickle: loading it runs no code. The same training gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64

from common.files import replacing
from features.store.feature_store import MADE_ALIKE
from mil.heads.gated_attention import GatedAttentionHead
from mil.heads.head import HeadShape

SCHEMA = "model/2"


@dataclass(frozen=True)
class Model:
    """A trained head with its record: task, classes, encoder, scale, settings; no patient's name."""

    head: GatedAttentionHead
    metadata: dict[str, Any]

    def attention(self, tiles: Float[np.ndarray, "tile dim"]) -> Float64[np.ndarray, " tile"]:
        """Return the attention of the tiles of one bag; it sums to 1."""
        self.head.eval()
        with torch.inference_mode():
            return self.head.attention(torch.from_numpy(tiles.astype(np.float32))).double().numpy()

    def check_features(self, made_by: Mapping[str, Any]) -> None:
        """Refuse features made otherwise than the model's.

        Raises:
            ValueError: names the difference.
        """
        for name in MADE_ALIKE:
            if made_by.get(name) != self.metadata["encoder"].get(name):
                raise ValueError(
                    f"the model was trained on features with {name} {self.metadata['encoder'].get(name)!r}, these have "
                    f"{made_by.get(name)!r}; make features with the model's setting"
                )


def write_model(path: Path, head: GatedAttentionHead, metadata: Mapping[str, Any]) -> None:
    """Write a model file, atomically."""
    from safetensors.torch import save

    record = {"schema": SCHEMA, "head": asdict(head.shape), **metadata}
    tensors = {name: value.detach().contiguous() for name, value in head.state_dict().items()}
    with replacing(path) as partial:
        partial.write_bytes(save(tensors, metadata={"sarcoma_mil": json.dumps(record, sort_keys=True)}))


def read_model(path: Path) -> Model:
    """Read a model file.

    Raises:
        ValueError: it is damaged, or no model file of this project.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {}).get("sarcoma_mil", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable model file ({error}); train again") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise ValueError(f"{path}: format {found}, not {SCHEMA}; train again")
    head = GatedAttentionHead(HeadShape(**record["head"]))
    head.load_state_dict(tensors)
    head.eval()
    return Model(head, record)
