"""The table of registered encoders, with a mark at those a study has features of: all that encoders.py does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.settings import option
from common.study import Study, as_study
from features.encoder.card import EncoderCard
from features.encoder.cards import CARDS

HEADER = f"{'':2s}{'name':22s}{'width':>6s}{'pixels':>8s}{'µm/px':>7s}{'M':>7s}  {'licence':28s}weights"


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """The settings of encoders.py."""

    study: Path = option(Path("study"), help="study folder; encoders it has features of are marked", group="input")
    commercial: bool = option(False, help="only encoders whose licence allows commercial use", group="input")


@dataclass(frozen=True, kw_only=True)
class ListedEncoder:
    """An encoder of the registry, and whether the study has features of it."""

    card: EncoderCard
    has_features: bool


def list_encoders(study: Path | Study, config: ListConfig) -> list[ListedEncoder]:
    """Return the registered encoders; `config.study` is not looked at."""
    cards = [card for card in CARDS.values() if card.is_commercial or not config.commercial]
    return [ListedEncoder(card=card, has_features=as_study(study).features(card.name).is_dir()) for card in cards]


def encoder_table(encoders: Sequence[ListedEncoder]) -> str:
    """Return a table for the screen, a line an encoder."""
    return "\n".join([HEADER, *(_line(own.card, "*" if own.has_features else " ") for own in encoders)])


def _line(card: EncoderCard, mark: str) -> str:
    pixels = "any" if card.input_px is None else str(card.input_px)
    origin = "--weights FILE" if card.weights == "file" else card.weights
    notes = [f"from {card.source}"] if card.weights == "file" else []
    notes += ["gated"] if card.is_gated else []
    notes += [f"needs {card.package}"] if card.package else []
    licence = card.licence if card.is_commercial else f"{card.licence} (not commercial)"
    scale = "-" if card.mpp is None else f"{card.mpp:.2f}"
    size = f"{card.parameters_m:.0f}" if card.parameters_m else "?"
    return (
        f"{mark} {card.name:22s}{card.dimension:6d}{pixels:>8s}{scale:>7s}{size:>7s}  {licence:40s} "
        f"{', '.join([origin, *notes])}"
    )
