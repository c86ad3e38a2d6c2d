"""List the encoders: name, width, field, licence, where their weights come from. With --study, which have features there.

Any other ImageNet network: --encoder timm:NAME or torchvision:NAME. Your own: --encoder module:function, a function that
returns a features.encoder.card.EncoderCard, or an entry point of the group sarcoma_mil.encoders.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import parse_config
from features.encoder.listing import ListConfig, encoder_table, list_encoders


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    config = parse_config(ListConfig, argv, section="encoders", description=__doc__)
    print(encoder_table(list_encoders(config.study, config)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
