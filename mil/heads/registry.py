"""The heads by name: made from the settings of a run, and rebuilt from the record in a model file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from common.failures import StudyError
from common.guards.names import nearest
from mil.heads.gated_attention import GatedAttentionHead, GatedAttentionSettings
from mil.heads.head import Head


@dataclass(frozen=True)
class RegisteredHead:
    """A head's class, and the dataclass of its own settings."""

    head: type[Head]
    settings: type


HEADS: dict[str, RegisteredHead] = {
    GatedAttentionHead.name: RegisteredHead(GatedAttentionHead, GatedAttentionSettings),
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
    if name not in HEADS:
        raise StudyError(
            f"--head {name!r} is no head{nearest(name, sorted(HEADS))}; there are {', '.join(sorted(HEADS))}"
        )
    return HEADS[name]


def make_head(name: str, options: object, *, n_inputs: int, n_outputs: int) -> Head:
    """Return an untrained head.

    Args:
        name: of a registered head.
        options: the settings of the run; the head takes from it what its own settings name, and else their defaults.
        n_inputs: width of an embedding.
        n_outputs: of the task: classes, or 1 for a risk.

    Raises:
        StudyError: there is no such head, or the run's settings lack one that the head needs.
    """
    entry = head_named(name)
    wanted = fields(entry.settings)
    given = {field.name: getattr(options, field.name) for field in wanted if hasattr(options, field.name)}
    needed = [f.name for f in wanted if f.default is MISSING and f.default_factory is MISSING]
    if absent := sorted(set(needed) - set(given)):
        raise StudyError(f"the head {name} needs {', '.join(absent)}, which is no setting of this run")
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
    entry = head_named(record["name"])
    return entry.head(entry.settings(**record["settings"]), n_inputs=record["n_inputs"], n_outputs=record["n_outputs"])
