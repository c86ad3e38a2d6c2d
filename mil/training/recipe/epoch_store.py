"""The state of a training between two epochs, in a file, so that a killed one goes on to the same bytes.

Weights, optimiser, generators and what was measured so far; tensors as safetensors, the rest as JSON: reading it runs no code. It
is written after so many seconds, so a short fold writes none, and removed when its fold is done. One that is damaged, or of another
fold, settings or features, is not used.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.files import replacing
from common.guards.own_files import remove_own_files
from mil.heads.head import Head
from mil.runs.facts import Epoch

SCHEMA = "epoch/1"
ENDING = ".state.safetensors"
STATE_FILE = re.compile(r"repeat-?\d+_fold-?\d+_[a-z]+\d*" + re.escape(ENDING))
HEAD, BEST, OPTIMISER, GENERATOR = "head.", "best.", "optimiser.", "generator"
Weights = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training has come: its last epoch, what was measured, and, where inner validation chooses, the best so far."""

    epoch: int = 0
    history: tuple[Epoch, ...] = ()
    best_epoch: int = 0
    best_loss: float | None = None
    best: Weights | None = None

    def after(self, epoch: Epoch, head: Head, *, may_choose: bool) -> Progress:
        """Return the progress after one more epoch; where it may be chosen and is better than all before, its weights are kept."""
        further = replace(self, epoch=epoch.epoch, history=(*self.history, epoch))
        loss = epoch.val_loss
        if not may_choose or loss is None or (self.best_loss is not None and loss >= self.best_loss):
            return further
        weights = {name: value.detach().clone() for name, value in head.state_dict().items()}
        return replace(further, best_epoch=epoch.epoch, best_loss=loss, best=weights)

    def is_over(self, n_epochs: int, patience: int) -> bool:
        """Return whether nothing is left to train: all epochs were run, or none was better for so many."""
        return self.epoch >= n_epochs or (
            bool(patience) and self.best_epoch > 0 and self.epoch - self.best_epoch >= patience
        )


@dataclass
class EpochKeeper:
    """Keeps the state of one training in a file: after `every_s` seconds, and at its end where it took as long."""

    path: Path
    fingerprint: str  # of all that the training depends on
    every_s: float
    say: Callable[[str], None] = print
    clock: Callable[[], float] = time.monotonic
    _last: float = field(init=False)

    def __post_init__(self) -> None:
        self._last = self.clock()
        self._began = self._last

    def restore(self, head: Head, optimiser: torch.optim.Optimizer, rng: np.random.Generator) -> Progress:
        """Return how far a killed training came, with head, optimiser and generators as they were; else the beginning."""
        if not self.path.is_file():
            return Progress()
        try:
            return _restored(*_read(self.path, self.fingerprint), head, optimiser, rng)
        except ValueError as error:
            self.say(f"note: {self.path.name} is not gone on from ({error}); this training begins anew")
            return Progress()

    def offer(
        self,
        progress: Progress,
        head: Head,
        optimiser: torch.optim.Optimizer,
        rng: np.random.Generator,
        *,
        is_over: bool,
    ) -> None:
        """Write the state if it is time to."""
        now = self.clock()
        if now - (self._began if is_over else self._last) < self.every_s:
            return
        _write(self.path, self.fingerprint, progress, head, optimiser, rng)
        self._last = self.clock()


@dataclass(frozen=True, kw_only=True)
class EpochStore:
    """The states of the trainings of one fold: its own, and those of its inner models."""

    folder: Path
    stem: str  # of the fold
    fingerprint: str
    every_s: float  # below 0: none is written

    def keeper(self, part: str) -> EpochKeeper | None:
        """Return the keeper of one training: model, inner0, inner1, ..."""
        if self.every_s < 0:
            return None
        own = hashlib.sha256(f"{SCHEMA} {self.fingerprint} {part}".encode()).hexdigest()
        return EpochKeeper(path=self.folder / f"{self.stem}_{part}{ENDING}", fingerprint=own, every_s=self.every_s)

    def remove(self) -> None:
        """Remove the states: the fold is done."""
        remove_own_files(self.folder, re.compile(re.escape(self.stem) + r"_[a-z]+\d*" + re.escape(ENDING)))


def _write(
    path: Path,
    fingerprint: str,
    progress: Progress,
    head: Head,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> None:
    from safetensors.torch import save

    tensors = {f"{HEAD}{name}": value for name, value in head.state_dict().items()}
    tensors |= {f"{BEST}{name}": value for name, value in (progress.best or {}).items()}
    for place, state in optimiser.state_dict()["state"].items():
        tensors |= {f"{OPTIMISER}{place}.{name}": torch.as_tensor(value) for name, value in state.items()}
    tensors[GENERATOR] = torch.get_rng_state()
    own = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    known = {
        "schema": SCHEMA, "fingerprint": fingerprint, "epoch": progress.epoch, "best_epoch": progress.best_epoch,
        "best_loss": progress.best_loss, "history": [asdict(epoch) for epoch in progress.history],
        "generator": rng.bit_generator.state, "tensors_sha256": _sha256(own),
    }  # fmt: skip
    with replacing(path) as partial:
        partial.write_bytes(save(own, metadata={"sarcoma_mil": json.dumps(known, sort_keys=True)}))


def _read(path: Path, fingerprint: str) -> tuple[dict[str, Any], Weights]:
    """Return what stands in a state file.

    Raises:
        ValueError: it is damaged, or of another training.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            known = json.loads((file.metadata() or {}).get("sarcoma_mil", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError("it is damaged") from error
    if not isinstance(known, dict) or known.get("schema") != SCHEMA:
        raise ValueError("it is of another format")
    if known.get("fingerprint") != fingerprint:
        raise ValueError("it is of other settings, patients or features")
    if known.get("tensors_sha256") != _sha256(tensors):
        raise ValueError("it is damaged: its checksum differs")
    return known, tensors


def _restored(
    known: Mapping[str, Any], tensors: Weights, head: Head, optimiser: torch.optim.Optimizer, rng: np.random.Generator
) -> Progress:
    """Put a state in its place.

    Raises:
        ValueError: it does not fit the head or the optimiser.
    """
    before = {name: value.clone() for name, value in head.state_dict().items()}
    try:
        history = tuple(Epoch(**epoch) for epoch in known["history"])
        best = {name.removeprefix(BEST): value for name, value in tensors.items() if name.startswith(BEST)}
        progress = Progress(
            epoch=int(known["epoch"]), history=history, best_epoch=int(known["best_epoch"]), best_loss=known["best_loss"],
            best=best or None,
        )  # fmt: skip
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith(OPTIMISER):
                place, key = name.removeprefix(OPTIMISER).split(".", 1)
                states.setdefault(int(place), {})[key] = value
        head.load_state_dict({n.removeprefix(HEAD): value for n, value in tensors.items() if n.startswith(HEAD)})
        optimiser.load_state_dict({"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
        rng.bit_generator.state = known["generator"]
        torch.set_rng_state(tensors[GENERATOR])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        head.load_state_dict(before)
        raise ValueError("it does not fit this head") from error
    return progress


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).contiguous().numpy().tobytes())
    return total.hexdigest()
