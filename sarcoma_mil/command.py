"""sarcoma-mil: the first word names a step, and all behind it is the step's own."""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections.abc import Sequence

from common import __version__
from common.calling.calls import COMMAND, is_of_run
from common.failures import EXIT_DONE, EXIT_WRONG_USE
from common.guards.names import nearest
from sarcoma_mil.steps import GROUPS, STEPS, Step

HELP, VERSION = ("-h", "--help", "help"), ("--version", "-V", "version")
COMPLETION = "completion"
CRASHED = 70  # a defect of ours, as sysexits.h numbers it
HEAD = f"""usage: {COMMAND} COMMAND [--option VALUE ...]

From whole slides and one clinical table to subtype and survival, with a report in which every number is out of fold.
Research use only."""
FIRST_HOUR = f"""the first hour:
  {COMMAND} demo                      all of it once, on painted slides
  {COMMAND} init --slides FOLDER      makes study/: put the labels into its cohort.csv
  {COMMAND} run --dry_run             what it will take
  {COMMAND} run                       to the report
  {COMMAND} serve                     look at it

{COMMAND} COMMAND --help lists the options of a command. All take --study DIR (default: study); settings can stand in
DIR/study.yaml. Exit codes: 0 done, 1 some slides failed and are named, 2 wrong use, 130 Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Answer help and version, or do what the first word says; a reader that went away (| head) ends it without a trace."""
    try:
        code = _answer(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        if _has_reader():
            raise  # another pipe broke: a defect
        return EXIT_DONE
    return code


def _has_reader() -> bool:
    """Return whether somebody still reads what is printed; where not, the rest goes nowhere."""
    if hasattr(select, "poll"):
        looked = select.poll()
        looked.register(sys.stdout.fileno(), 0)
        if not any(state & select.POLLERR for _, state in looked.poll(0)):
            return True
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return False


def _answer(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in ([name] for name in HELP) and len(words) > 1 and words[1] in STEPS:
        words = [words[1], "--help"]  # help tile
    if not words or words[0] in HELP:
        print(help_text())
        return EXIT_DONE
    if words[0] in VERSION:
        print(f"{COMMAND} {installed_version()}")
        return EXIT_DONE
    if words[0] == COMPLETION:
        from sarcoma_mil.completion import main as complete

        return complete(words[1:])
    if words[0] not in STEPS:
        print(f"error: {unknown_text(words[0])}", file=sys.stderr)
        return EXIT_WRONG_USE
    return _step(STEPS[words[0]], words[1:])


def _step(step: Step, flags: Sequence[str]) -> int:
    """Do a step. Under run a crash has an exit code of its own: Python's is 1, which says that some slides failed."""
    try:
        return step.main()(flags)
    except Exception:
        if not is_of_run():
            raise
        traceback.print_exc()
        return CRASHED


def help_text() -> str:
    """Return what the command can do, in groups, and where to begin."""
    parts = [HEAD]
    for title, steps in GROUPS.items():
        parts.append("\n".join([f"{title}:", *(f"  {step.word:17s} {step.what}" for step in steps)]))
    own = f"  {COMPLETION:17s} completions of the Tab key: {COMMAND} {COMPLETION} bash (zsh, tcsh) says how"
    return "\n\n".join([*parts[:-1], f"{parts[-1]}\n{own}", FIRST_HOUR])


def installed_version() -> str:
    """Return the version that the installation says it is; of a checkout that is not installed, its own."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(COMMAND)
    except PackageNotFoundError:
        return __version__


def unknown_text(word: str) -> str:
    """Say that a word is no command, and which was meant."""
    if word.startswith("-"):
        return (
            f"{word} stands before the command; write {COMMAND} COMMAND {word} ...; {COMMAND} --help lists the commands"
        )
    name = word.rpartition("/")[2].removesuffix(".py")
    meant = [step.word for step in STEPS.values() if name == step.section]
    near = f"; the script {name}.py is {COMMAND} {meant[0]}" if meant else nearest(word, [*STEPS, COMPLETION, "help"])
    return f"{word!r} is no command{near}; {COMMAND} --help lists all"
