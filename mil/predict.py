"""Predict slides with a trained model: from slide files to a table and a page a patient, labels not needed.

The model is that of a run of --study, or --model names one.
--slides takes a folder of slide files through tiling and embedding with the model's own settings; --features takes features
that are there. A table (--cohort) says whose a slide is; with labels in it the predictions are evaluated. Says of each patient how
unlike the training cohort it is, which slide spoke most, and whether it was in the training.
Leaves in --out: predictions.csv, predictions.json, index.html, patients/, with labels evaluation/, of slides tiles/ and features/.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command, exit_code, failure_table
from common.machine import wait_passively
from common.settings import parse_config
from mil.prediction.settings import PredictConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Predict and say what came of it."""
    config = parse_config(PredictConfig, argv, section="predict", description=__doc__)
    wait_passively()
    from mil.report.drawing import keep_home_clean

    keep_home_clean()
    from mil.prediction.new_slides import PartMade
    from mil.prediction.prediction_run import predict_slides
    from mil.report.verdict import results_table

    made = predict_slides(config, say=partial(print, flush=True))
    if isinstance(made, PartMade):
        if made.failed:
            print(failure_table(made.failed))
        print(
            f"tiles and features of part {config.shard}: {made.n_slides} slides; {made.n_missing} of other parts are missing, and "
            f"nothing was predicted yet: the run that finds all of them does"
        )
        return exit_code(made.failed)
    n_warned = sum(bool(own.warnings) for own in made.patients)
    print(f"{len(made.patients)} predicted, {n_warned} with a warning: {made.table}")
    if made.metrics is not None:
        print(results_table(made.metrics).replace("out of fold", "new"))
    if made.words:
        print(made.words)
    if made.failed:
        print(failure_table(made.failed))
    print(f"pages: {made.page}")
    return exit_code(made.failed)


if __name__ == "__main__":
    sys.exit(main())
