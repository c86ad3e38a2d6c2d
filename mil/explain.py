"""Explain a model: what each tile contributed to each logit or to the log-hazard, whether that can be believed, and maps of it.

Patients of a run are explained by the heads that never saw them. Contributions add up to the model's output, by tile and by
slide. Tiles are taken away in order to see whether the map is right; where it is not, every page says so.
Leaves in --out: tiles/<slide>.h5, contributions.csv, faithfulness.json, index.html, patients/, sheets/, and of slides whose
files are there maps/: on a picture (PNG), numbers (OME-TIFF), and for QuPath (GeoJSON).
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
from mil.explanation.settings import ExplainConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Explain and say what came of it."""
    config = parse_config(ExplainConfig, argv, section="explain", description=__doc__)
    wait_passively()
    from mil.explanation.explained_run import explain_run

    made = explain_run(config, say=partial(print, flush=True))
    methods = sorted({method for own in made.patients for method in own.methods})
    print(
        f"{len(made.patients)} explained ({', '.join(methods)}); what contributions miss of an output: {made.most_residual:.2g}"
    )
    if made.faithfulness is not None:
        faults = made.faithfulness.faults
        print("NOT FAITHFUL: " + "; ".join(faults) if faults else "faithful by all checks")
    if made.failed:
        print(failure_table(made.failed))
    print(f"page: {made.page}")
    return exit_code(made.failed)


if __name__ == "__main__":
    sys.exit(main())
