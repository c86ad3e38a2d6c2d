"""Aggregate the stored colour fits of chosen slides into one reference that other slides are mapped to.

Choose slides of the training part only (--where or --slides), so that nothing of a test set decides its colours. Leaves
stain_references/<name>.json with vectors, percentiles, CIELAB, and the slides and methods it was made of; give it to
features/extract_features.py or preprocessing/export_tiles.py as --stain_reference.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import parse_config
from preprocessing.tiling.tiling_settings import StainReferenceConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the reference and say what is in it."""
    config = parse_config(StainReferenceConfig, argv, section="make_stain_reference", description=__doc__)
    from preprocessing.tiling.stain_reference import aggregate_stains

    reference = aggregate_stains(config.study, config)
    n_used, n_left_out = len(reference.methods), len(reference.left_out)
    print(f"{reference.path}: {n_used} slides; {n_left_out} left out, for they have no stain fit of their own")
    return 0


if __name__ == "__main__":
    sys.exit(main())
