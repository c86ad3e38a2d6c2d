"""Begin a study: a folder with a commented study.yaml, a table to fill in, and a place for the slides.

Nothing that is there is written over. With --slides FOLDER the slides stay where they are. Slides that are there are named in the
table, their labels left empty; call it again when the slides have come.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence

from common.calling.calls import command_here
from common.failures import EXIT_DONE, MAX_NAMED, command, wrapped_lines
from common.settings import parse_config
from sarcoma_mil.beginning.new_study import InitConfig, NewStudy, begin_study


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Make what is missing, and say what to do next."""
    flags = list(sys.argv[1:] if argv is None else argv)
    if flags and not flags[0].startswith("-"):
        flags = ["--study", *flags]  # init FOLDER, as other programs have it
    config = parse_config(InitConfig, flags, section="init", description=__doc__)
    begun = begin_study(config)
    if begun.made:
        print(f"{begun.study.root}: made {', '.join(begun.made)}")
    if begun.kept:
        print(f"{begun.study.root}: {', '.join(begun.kept)} there already, not touched")
    print("next:")
    for number, (words, call) in enumerate(_next(begun), start=1):
        print("\n".join(wrapped_lines(f"{number}. {words}")))
        if call:
            print(f"       {call}")  # on a line of its own, whole, to be copied
    return EXIT_DONE


def _next(begun: NewStudy) -> Iterator[tuple[str, str]]:
    """Yield what to do, and the command that does it, where there is one."""
    study, own = begun.study, command_here()
    place = shlex.quote(str(study.root))
    if begun.strays:
        more = " ..." if len(begun.strays) > MAX_NAMED else ""
        named = f"{', '.join(begun.strays[:MAX_NAMED])}{more}"
        yield (
            f"slides lie in {study.root} itself, where no step looks ({named}): move them into {study.slides}, then",
            "",
        )
    if not begun.slide_ids:
        yield (
            f"put your slides into {study.slides}, and call this again: it lists them in the table. Or leave them where they are:",
            f"{own} init --study {place} --slides FOLDER",
        )
    if begun.has_examples:
        yield f"{study.cohort_table} holds examples: write your patients and slides instead", ""
    else:
        yield (
            f"fill in {study.cohort_table}, one row a slide: patient_id; subtype; time (to the event or the last visit) and event "
            "(1 seen, 0 not); what is not known stays empty; more columns as you like",
            "",
        )
    yield "have every slide opened and held against the table:", f"{own} check --study {place}"
    yield "see what it will take:", f"{own} run --study {place} --dry_run"
    yield "do it, to the report:", f"{own} run --study {place}"


if __name__ == "__main__":
    sys.exit(main())
