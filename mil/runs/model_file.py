"""The model file: one safetensors file with the head's weights and, as JSON, all that a prediction needs to know.

It is made to be given away, so no patient stands in it: who trained it stands in the fold's record beside it in the run.

No pickle: loading it runs no code. The same training gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64

from common.files import replacing
from features.store.provenance import Provenance
from mil.heads.head import Head
from mil.heads.registry import head_record, rebuild_head

SCHEMA = "model/3"  # 2: the head by its name; 3: no patients


@dataclass(frozen=True)
class Model:
    """A trained head with its record: task, classes, encoder, scale, settings; no patient's name."""

    head: Head
    metadata: dict[str, Any]

    def attention(self, tiles: Float[np.ndarray, "tile dim"]) -> Float64[np.ndarray, " tile"]:
        """Return the attention of the tiles of one bag; it sums to 1."""
        self.head.eval()
        with torch.inference_mode():
            return self.head.attention_of_bag(torch.from_numpy(tiles)).double().numpy()

    def check_features(self, provenance: Provenance) -> None:
        """Refuse features made otherwise than the model's.

        Raises:
            ValueError: names the difference.
        """
        if difference := Provenance.of_record(self.metadata["encoder"]).difference(provenance):
            name, wanted, found = difference
            raise ValueError(
                f"the model was trained on features with {name} {wanted!r}, these have {found!r}; make features with the "
                f"model's setting"
            )


def write_model(path: Path, head: Head, metadata: Mapping[str, Any]) -> None:
    """Write a model file, atomically."""
    from safetensors.torch import save

    record = {"schema": SCHEMA, "head": head_record(head), **metadata}
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
        schema = record.get("schema") if isinstance(record, dict) else None
        raise ValueError(f"{path}: format {schema}, not {SCHEMA}; train again")
    try:
        head = rebuild_head(record["head"])
        head.load_state_dict(tensors)
    except (RuntimeError, KeyError, TypeError) as error:  # torch's, of weights that are not the head's
        first = str(error).strip().splitlines()[0]
        raise ValueError(f"{path}: its weights are not those of its head ({first}); train again") from error
    head.eval()
    return Model(head, record)
