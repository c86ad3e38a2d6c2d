"""What the clinical table alone tells of a task, on the folds of the study: the bar for any model of its slides.

No slide, tile or feature is needed: the penalised linear model that stands beside every run as its clinical baseline, of each
covariate by itself and of all together, by the same folds. Then it says what is there of slides and features, and what comes next.
Leaves clinical/<name>.csv (predictions out of fold) and clinical/<name>.json (the figures).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import parse_config
from mil.clinical_run import ClinicalConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Fit, print the figures, say what comes next."""
    config = parse_config(ClinicalConfig, argv, section="clinical", description=__doc__)
    from mil.clinical_run import clinical_models, clinical_table, what_is_next

    found = clinical_models(config.study, config)
    print(clinical_table(found))
    print(f"predictions: {found.predictions}")
    print(what_is_next(config.study))
    return 0


if __name__ == "__main__":
    sys.exit(main())
