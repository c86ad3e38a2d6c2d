"""The scripts' words in the command sarcoma-mil, and messages told in the words by which a step was called.

Messages name scripts, as `python preprocessing/tile_slides.py`, and so do the files of a study. Who called `sarcoma-mil tile` reads
that command on the screen: he may sit in any folder, and need not know where the checkout lies.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

COMMAND = "sarcoma-mil"
PACKAGE = "sarcoma_mil"
OF_RUN = "SARCOMA_MIL_STEP"  # set for the steps that run starts
WORDS = {  # the command's word: the script it is, in the order of a study's way
    "check": "preprocessing/check_study.py",
    "tile": "preprocessing/tile_slides.py",
    "features": "features/extract_features.py",
    "splits": "splits/make_splits.py",
    "clinical": "mil/clinical.py",
    "train": "mil/train.py",
    "evaluate": "mil/evaluate.py",
    "predict": "mil/predict.py",
    "explain": "mil/explain.py",
    "serve": "mil/serve.py",
    "results": "mil/show_results.py",
    "contact-sheet": "preprocessing/make_contact_sheet.py",
    "stain-reference": "preprocessing/make_stain_reference.py",
    "export-tiles": "preprocessing/export_tiles.py",
    "encoders": "features/encoders.py",
    "convert-features": "features/convert_features.py",
    "paint": "preprocessing/make_demo_study.py",
}
OWN_WORDS = ("init", "run", "demo", "doctor")  # steps that no script stands for
_WORD_OF = {script.rpartition("/")[2]: word for word, script in WORDS.items()}
_NAMED = re.compile(  # a script, alone or with its folder and its Python, not as a part of another path
    r"(?<![\w/.-])(?:python )?(?:(?:preprocessing|features|splits|mil)/)?("
    + "|".join(re.escape(name) for name in sorted(_WORD_OF, key=len, reverse=True))
    + r")(?![\w/])"
)


def is_by_command() -> bool:
    """Return whether sarcoma-mil is what runs, installed, by -m or by path; not one of the scripts or another program."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if file is None:
        return False
    path = Path(file)
    return path.stem == COMMAND or (path.name == "__main__.py" and path.parent.name in (PACKAGE, f"{COMMAND}.exe"))


def is_of_run() -> bool:
    """Return whether run or demo started this step: they say what comes next."""
    return OF_RUN in os.environ


def step_name(section: str) -> str:
    """Return what a step is called in its help: `sarcoma-mil tile` under the command, else `tile_slides.py`.

    Args:
        section: the script's name without ending, or the word of a step that no script stands for.
    """
    script = f"{section}.py"
    if section in OWN_WORDS:
        return f"{COMMAND} {section}"
    return f"{COMMAND} {_WORD_OF[script]}" if is_by_command() and script in _WORD_OF else script


def as_called(text: str) -> str:
    """Return a message for the screen: under the command, the scripts in it by their words; else as it is."""
    return _NAMED.sub(lambda found: f"{COMMAND} {_WORD_OF[found[1]]}", text) if is_by_command() else text


def command_here() -> str:
    """Return how to call the command that belongs to this Python, in the next command of a shell, wherever that stands."""
    beside = Path(sys.executable).parent / COMMAND
    if not beside.is_file():  # not installed: from the checkout
        return f"{from_here(Path(sys.executable))} {from_here(Path(__file__).resolve().parents[2] / PACKAGE)}"
    found = shutil.which(COMMAND)
    return COMMAND if found is not None and Path(found) == beside else from_here(beside)


def from_here(path: Path) -> str:
    """Return a path as it is shortest to type in this folder; what lies above it is told in full."""
    here = os.path.relpath(str(path))
    return str(path) if here.startswith("..") else here
