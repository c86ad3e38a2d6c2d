"""List the encoders: name, width, field, licence, where their weights come from. With --study, which have features there.

Any other ImageNet network: --encoder timm:NAME or torchvision:NAME. Your own: --encoder module:function, a function that
returns a features.encoder.card.EncoderCard, or an entry point of the group sarcoma_mil.encoders.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import option, parse_config


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """The settings of encoders.py."""

    study: Path = option(Path("study"), help="study folder; encoders it has features of are marked", group="input")
    commercial: bool = option(False, help="only encoders whose licence allows commercial use", group="input")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    config = parse_config(ListConfig, argv, section="encoders", description=__doc__)
    from features.encoder.cards import CARDS

    print(f"{'':2s}{'name':22s}{'width':>6s}{'pixels':>8s}{'µm/px':>7s}{'M':>7s}  {'licence':28s}weights")
    for card in CARDS.values():
        if config.commercial and not card.is_commercial:
            continue
        mark = "*" if (config.study / "features" / card.name).is_dir() else " "
        pixels = "any" if card.input_px is None else str(card.input_px)
        origin = "--weights FILE" if card.weights == "file" else card.weights
        notes = [f"from {card.source}"] if card.weights == "file" else []
        notes += ["gated"] if card.is_gated else []
        notes += [f"needs {card.package}"] if card.package else []
        licence = card.licence if card.is_commercial else f"{card.licence} (not commercial)"
        scale = "-" if card.mpp is None else f"{card.mpp:.2f}"
        size = f"{card.parameters_m:.0f}" if card.parameters_m else "?"
        print(
            f"{mark} {card.name:22s}{card.dimension:6d}{pixels:>8s}{scale:>7s}{size:>7s}  {licence:40s} "
            f"{', '.join([origin, *notes])}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
