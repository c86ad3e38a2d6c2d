"""Completions of the Tab key for bash, zsh and tcsh, made of the settings classes themselves.

shtab prints a static text once: pressing Tab starts no Python, where argcomplete would start one each time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from common.calling.calls import COMMAND
from common.failures import EXIT_DONE, StudyError, command
from common.guards.names import nearest
from common.settings import options_of
from sarcoma_mil.steps import STEPS

SHELLS = {
    "bash": f"~/.local/share/bash-completion/completions/{COMMAND}",
    "zsh": f"~/.zfunc/_{COMMAND}",
    "tcsh": f"~/.{COMMAND}.completions.tcsh",
}
FOLDERS = ("study", "slides", "features", "images", "out", "masks", "maps")  # options that name a folder, not a file


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the completions of a shell; without one, say how to get them."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(f"{COMMAND} completion SHELL prints completions of the Tab key. To keep them:\n")
        print("\n".join(f"  {COMMAND} completion {shell} > {place}" for shell, place in SHELLS.items()))
        print("\nThey work in shells that are started afterwards (zsh: with fpath+=~/.zfunc before compinit).")
        return EXIT_DONE
    if words[0] not in SHELLS or len(words) > 1:
        raise StudyError(
            f"completion is of one of {', '.join(SHELLS)}; found {words[0]!r}{nearest(words[0], [*SHELLS])}"
        )
    print(completion_text(words[0]))
    return EXIT_DONE


def completion_text(shell: str) -> str:
    """Return the completions of a shell, one of SHELLS."""
    import shtab

    return str(shtab.complete(_parser(), shell=shell))


def _parser() -> argparse.ArgumentParser:
    """Return words and options as argparse knows them, for shtab alone: the steps read their options by themselves."""
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--version", action="store_true", help="show the version")
    words = parser.add_subparsers()
    for step in STEPS.values():
        own = words.add_parser(step.word, help=step.what)
        config_class = step.config_class()
        helps = {name: field.metadata.get("help", "") for name, field in config_class.__dataclass_fields__.items()}
        for name, (kind, _) in options_of(config_class).items():
            _add(own, name, kind, helps.get(name, "file to which all that is printed is added"))
    shells = words.add_parser("completion", help="completions of the Tab key")
    shells.add_argument("shell", choices=[*SHELLS])
    return parser


def _add(parser: argparse.ArgumentParser, name: str, kind: Any, words: str) -> None:
    import shtab

    is_path = Path in (kind, *get_args(kind))
    action: Any = parser.add_argument(f"--{name}", choices=_choices(name, kind), help=words.replace("%", "%%"))
    if is_path:
        action.complete = shtab.DIRECTORY if name in FOLDERS else shtab.FILE


def _choices(name: str, kind: Any) -> list[str] | None:
    literal = next((own for own in (kind, *get_args(kind)) if get_origin(own) is Literal), None)
    if literal is not None:
        return [str(own) for own in get_args(literal)]
    if kind is bool:
        return ["true", "false"]
    if name == "encoder":
        from features.encoder.cards import CARDS

        return [*CARDS]
    return None
