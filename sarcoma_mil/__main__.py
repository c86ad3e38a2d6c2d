"""The command run without being installed: python sarcoma_mil, from any folder, or python -m sarcoma_mil."""

import sys
from pathlib import Path

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from sarcoma_mil.command import main

if __name__ == "__main__":
    sys.exit(main())
