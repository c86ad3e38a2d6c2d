"""Embed the tiles of every slide of a study with a frozen CNN.

Workers read tiles ahead; on the device that embeds they are resized, their colours mapped to the reference, and embedded
(OpenVINO on a CPU, PyTorch on a GPU). A slide that was interrupted goes on where it stopped. Leaves
features/<encoder>/<slide>.h5 and status.csv. python features/encoders.py lists the encoders. With --tiles it embeds a
table of tile images instead, one bag a patient, and keeps the table's labels and sets as the study's cohort.csv.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command, exit_code
from common.settings import parse_config
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.study_embedding import embed_study


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Embed the study and say what became of each slide."""
    config = parse_config(ExtractionConfig, argv, section="extract_features", description=__doc__)
    made = embed_study(config.study, config)
    for outcome in made.outcomes:
        print(outcome.summary)
    if made.gpu_shares:
        shares = ", ".join(f"{share:.0%}" for share in made.gpu_shares)
        print(f"GPU busy from its first batch to its last: {shares} of the time")
    return exit_code(made.statuses)


if __name__ == "__main__":
    sys.exit(main())
