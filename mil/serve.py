"""Look at a study in a browser: patients with predictions and truth, slides with maps of their tiles, survival curves.

The page is for this computer alone. Trained and explained runs show most (mil/train.py, mil/explain.py); slides alone are
shown, too.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import command
from common.settings import parse_config
from mil.viewer.settings import ServeConfig


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped."""
    config = parse_config(ServeConfig, argv, section="serve", description=__doc__)
    from mil.viewer.server import serve

    serve(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
