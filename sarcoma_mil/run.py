"""Do every step of a study that is missing, in order: tiles, features, folds, training of each task the table allows, maps.

Each step is the command of that name with the settings of study.yaml. What is done and unchanged is left alone; a step that leaves
nothing to go on with ends it; slides that fail are named, and the rest goes on (exit code 1). Ends with the figures of all
runs and where the reports are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from common.failures import command
from common.machine import wait_passively
from common.settings import parse_config
from sarcoma_mil.whole.run_settings import RunConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps, or say what they will take."""
    flags = list(sys.argv[1:] if argv is None else argv)
    if flags and not flags[0].startswith("-"):
        flags = ["--study", *flags]  # run FOLDER
    config = parse_config(RunConfig, flags, section="run", description=__doc__)
    say = partial(print, flush=True)
    if config.dry_run:
        wait_passively()
        from sarcoma_mil.whole.forecast import forecast_study

        return forecast_study(config, say=say)
    from sarcoma_mil.whole.whole_run import run_study

    return run_study(config, say=say)


if __name__ == "__main__":
    sys.exit(main())
