"""Make a synthetic study: slides painted by the physics of staining, a clinical table, and the truth behind both.

Five sarcoma subtypes, three sites with their own stains and scanners, one to three slides a patient, survival that
depends on planted mitoses and necrosis. Leaves slides/*.tif, cohort.csv and truth/. Run again, it makes what is missing.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.calling.calls import is_of_run
from common.failures import command
from common.guards.environment import call_here
from common.settings import parse_config
from preprocessing.synthetic.demo_settings import DemoConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Make the study and say what is in it."""
    config = parse_config(DemoConfig, argv, section="make_demo_study", description=__doc__)
    from preprocessing.synthetic.demo_study import paint_study

    made = paint_study(config.study, config)
    print(
        f"{made.study.root}: {made.n_patients} patients, {made.n_slides} slides ({made.n_kept} were there), "
        f"{made.n_events} events. SYNTHETIC: no real patient is in it"
    )
    if not is_of_run():
        place = shlex.quote(str(config.study))
        print(f"next, in this environment: {call_here('preprocessing/tile_slides.py')} --study {place}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
