"""The heads by name: made from the settings of a run, and rebuilt from the record in a model file.

`module:function` names a head of one's own: a function without arguments that returns a `RegisteredHead`. It is called only
where a user names it on the command line; a model file that names one loads no code.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from common.failures import StudyError
from common.guards.names import nearest
from mil.heads.gated_attention import GatedAttentionHead, GatedAttentionSettings
from mil.heads.head import Head
from mil.heads.library.acmil import AcmilHead, AcmilSettings
from mil.heads.library.additive import AdditiveHead, AdditiveSettings
from mil.heads.library.attention import AttentionHead, AttentionSettings
from mil.heads.library.clam import ClamMultiHead, ClamSettings, ClamSingleHead
from mil.heads.library.dsmil import DsmilHead, DsmilSettings
from mil.heads.library.linear import LinearHead, LinearSettings
from mil.heads.library.max_pool import MaxHead, MaxSettings
from mil.heads.library.mean_mlp import MeanHead, MeanSettings
from mil.heads.library.mean_sd import MeanSdHead, MeanSdSettings
from mil.heads.library.prototypes import PrototypeHead, PrototypeSettings
from mil.heads.library.transformer import TransformerHead, TransformerSettings


@dataclass(frozen=True)
class RegisteredHead:
    """A head's class, and the dataclass of its own settings."""

    head: type[Head]
    settings: type


HEADS: dict[str, RegisteredHead] = {
    head.name: RegisteredHead(head, settings)
    for head, settings in (
        (GatedAttentionHead, GatedAttentionSettings),
        (AttentionHead, AttentionSettings),
        (LinearHead, LinearSettings),
        (MeanHead, MeanSettings),
        (MaxHead, MaxSettings),
        (MeanSdHead, MeanSdSettings),
        (AdditiveHead, AdditiveSettings),
        (ClamSingleHead, ClamSettings),
        (ClamMultiHead, ClamSettings),
        (DsmilHead, DsmilSettings),
        (TransformerHead, TransformerSettings),
        (AcmilHead, AcmilSettings),
        (PrototypeHead, PrototypeSettings),
    )
}


def register_head(head: type[Head], settings: type) -> None:
    """Add a head under its name.

    Raises:
        ValueError: another head has that name.
    """
    if HEADS.get(head.name, RegisteredHead(head, settings)).head is not head:
        raise ValueError(f"two heads are named {head.name!r}")
    HEADS[head.name] = RegisteredHead(head, settings)


def head_named(name: str) -> RegisteredHead:
    """Return a head by its name.

    Raises:
        StudyError: there is none of that name; the message lists those there are.
    """
    if name in HEADS:
        return HEADS[name]
    if ":" in name:
        HEADS[name] = _own_head(name)
        return HEADS[name]
    raise StudyError(
        f"--head {name!r} is no head{nearest(name, sorted(HEADS))}; there are {', '.join(sorted(HEADS))}, and module:function "
        "for one of your own"
    )


def _own_head(name: str) -> RegisteredHead:
    """Return what the user's function returns, its class under the name that the user gave."""
    module, _, function = name.partition(":")
    wanted = "wanted a function without arguments that returns a mil.heads.registry.RegisteredHead"
    sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), function)()
    except Exception as error:  # the user's code may raise anything
        raise StudyError(f"--head {name}: cannot be loaded ({type(error).__name__}: {error}); {wanted}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not isinstance(found, RegisteredHead):
        raise StudyError(f"--head {name}: returned {type(found).__name__}, {wanted}")
    return RegisteredHead(type(found.head.__name__, (found.head,), {"name": name}), found.settings)


def make_head(name: str, options: object, *, n_inputs: int, n_outputs: int) -> Head:
    """Return an untrained head.

    Args:
        name: of a registered head.
        options: the settings of the run; the head takes from it what its own settings name, and else their defaults.
        n_inputs: width of an embedding.
        n_outputs: of the task: classes, or 1 for a risk.

    Raises:
        StudyError: there is no such head, or the run's settings lack one that the head needs.
        ValueError: a width is 0, as settings have it that leave it to the task.
    """
    entry = head_named(name)
    wanted = fields(entry.settings)
    given = {field.name: getattr(options, field.name) for field in wanted if hasattr(options, field.name)}
    needed = [f.name for f in wanted if f.default is MISSING and f.default_factory is MISSING]
    if absent := sorted(set(needed) - set(given)):
        raise StudyError(f"the head {name} needs {', '.join(absent)}, which is no setting of this run")
    if not all(given.get(width, 1) for width in ("hidden", "attention")):
        raise ValueError("a head of no width: the task's own comes by TrainConfig.with_widths")
    return entry.head(entry.settings(**given), n_inputs=n_inputs, n_outputs=n_outputs)


def head_record(head: Head) -> dict[str, Any]:
    """Return what rebuilds a head, but for its weights: name, sizes and own settings as plain values."""
    return {
        "name": head.name, "n_inputs": head.n_inputs, "n_outputs": head.n_outputs, "settings": asdict(head.settings),
    }  # fmt: skip


def rebuild_head(record: Mapping[str, Any]) -> Head:
    """Return a head as `head_record` describes it, without its weights.

    Raises:
        StudyError: there is no head of that name.
    """
    if ":" in record["name"] and record["name"] not in HEADS:
        raise StudyError(
            f"the model's head is {record['name']}, code of its maker's own, which a model file does not load; name it by --head "
            "if you trust it"
        )
    entry = head_named(record["name"])
    return entry.head(entry.settings(**record["settings"]), n_inputs=record["n_inputs"], n_outputs=record["n_outputs"])
