"""Write features in the layout of CLAM, TRIDENT, STAMP or slideflow, or take theirs over (--to own).

From the study's own feature files, or with --features from a folder of any of these tools. Leaves the files as the tool
names them, the tables it wants of the cohort, provenance/<slide>.json with all that the layout has no place for (encoder,
licence, scale, checksums), and status.csv. The way back is exact.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command, exit_code
from common.settings import parse_config
from features.exchange.conversion import ConversionConfig
from features.exchange.study_conversion import convert_study


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Convert and say what became of each slide."""
    config = parse_config(ConversionConfig, argv, section="convert_features", description=__doc__)
    made = convert_study(config.study, config)
    print(made.summary)
    return exit_code(made.statuses)


if __name__ == "__main__":
    sys.exit(main())
