"""Write the tiles of a study as images, their colours normalised, with a tile table in the form of the 2021 notebook.

Leaves OUT/<patient>/<slide>/*.jpg, OUT/key.csv (patient_ID, Path, Label, training_set, is_valid) and OUT/status.csv. The
sets come from the clinical table's column set, or from a fold (--splits, --fold): train and val are TRAIN, test is VALID.
features/extract_features.py --tiles OUT/key.csv embeds them. Run again, it makes what is missing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command, exit_code, failure_table
from common.settings import parse_config
from preprocessing.tiling.tiling_settings import ExportConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Export the tiles and say what became of each slide."""
    config = parse_config(ExportConfig, argv, section="export_tiles", description=__doc__)
    from preprocessing.tiling.study_export import export_study

    export = export_study(config.study, config)
    print(failure_table(export.statuses) or f"{export.n_done} slides, {export.n_tiles} tiles")
    if not export.has_sets:
        print("no sets in key.csv: the clinical table has no column set, and no --splits was given")
    print(f"tile table: {export.key_file}; status of each slide: {export.status_file}")
    return exit_code(export.statuses)


if __name__ == "__main__":
    sys.exit(main())
