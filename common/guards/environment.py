"""A Python without the project's packages: one line that names the environment and how to get it, instead of a trace.

It must be readable for earlier Pythons too, and imports nothing that is not Python's own.
"""

import shutil
import sys
from pathlib import Path

from common.calling.calls import COMMAND, WORDS, command_here, from_here, is_by_command

NEEDED = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
OURS = ("common", "preprocessing", "features", "splits", "mil", "sarcoma_mil")


def own_script() -> str:
    """Return the script of ours that is running, as its path from the project's folder, or the command sarcoma-mil.

    Empty where another program runs.
    """
    if is_by_command():
        return COMMAND
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return ""
    script = Path(path).resolve()
    return script.relative_to(ROOT).as_posix() if script.parent.parent == ROOT else ""


def lacking_text(error: BaseException) -> str:
    """Say which package a script lacks, and how to get all; empty where that is not what went wrong."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not name or name in OURS:
        return ""
    return f"this Python ({sys.executable}) has no package {name}; {_remedy()}"


def old_text() -> str:
    """Say that this Python is too old, and how to get the right one; empty where it is not."""
    if sys.version_info >= NEEDED:
        return ""
    found, needed = (".".join(map(str, version[:3])) for version in (sys.version_info, NEEDED))
    return f"this Python ({sys.executable}) is {found}, and {needed} or newer is needed; {_remedy()}"


def _remedy() -> str:
    own = ROOT / ".venv" / "bin" / "python"
    first = "the environment of the project is .venv" if own.exists() else "make install sets up the environment .venv"
    conda = "conda env create -f environment.yml && conda activate sarcoma-mil"
    if is_by_command():
        return f"{first}: run {from_here(own.with_name(COMMAND))} (with conda: {conda}, then {COMMAND})"
    return f"{first}: run {from_here(own)} {own_script() or 'SCRIPT'} (with conda: {conda}, then python)"


def this_python() -> str:
    """Return how to call the Python that runs, in the next command of a shell."""
    return "python" if shutil.which("python") == sys.executable else from_here(Path(sys.executable))


def call_here(script: str) -> str:
    """Return how to call a script, or its word of the command where that is what runs, in the next command of a shell.

    Args:
        script: its path from the project's folder.
    """
    word = next(own for own, path in WORDS.items() if path == script)
    return f"{command_here()} {word}" if is_by_command() else f"{this_python()} {script}"
