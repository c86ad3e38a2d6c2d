"""What can go wrong and what the user reads: two errors, one status row a slide, one exit code.

ValueError
├── StudyError   the command, the table or the study folder is wrong: exit 2, nothing is done
└── SlideError   one slide cannot be used: a row in status.csv, the rest goes on, exit 1
"""

import functools
import sys
import textwrap
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.calling.calls import as_called
from common.calling.threads import heard_threads
from common.files import DISK_REMEDY, UnwritableError, disk_fault, read_named_rows, write_table

EXIT_DONE, EXIT_SOME_FAILED, EXIT_WRONG_USE, EXIT_INTERRUPTED = 0, 1, 2, 130
MAX_NAMED = 10  # slides of one reason in a line for the screen
INTERRUPTED = "interrupted; run the same command again to go on where it stopped"


class StudyError(ValueError):
    """The command, the clinical table or the study folder is wrong; the message says how to repair it."""


class SlideError(ValueError):
    """One slide cannot be used: `reason` says what was found and wanted, `remedy` what to do."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason, remedy)  # both as arguments, so that the error survives pickling
        self.reason, self.remedy = reason, remedy

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}" if self.remedy else self.reason


OF_MEMORY = (  # what libraries say in their own words
    "cannot allocate memory", "can't allocate memory", "failed to map segment", "insufficient memory", "not enough memory",
    "can't start new thread", "unable to allocate",
)  # fmt: skip
MEMORY_REMEDY = (
    "give fewer --workers, or this machine more memory, then run the same command again: it goes on where it stopped"
)


def machine_fault(error: BaseException) -> SlideError | None:
    """Return what to say of an error that is the machine's, a disk's or for want of memory; None of any other."""
    cause: BaseException | None = error
    while cause is not None:  # libraries wrap what went wrong into words of their own
        if isinstance(cause, MemoryError) or any(words in str(cause).lower() for words in OF_MEMORY):
            return SlideError("memory ran out", MEMORY_REMEDY)
        cause = cause.__cause__ or cause.__context__
    told = disk_fault(error) if isinstance(error, OSError) else ""
    return SlideError(told, DISK_REMEDY) if told else None


@dataclass(frozen=True, kw_only=True)
class SlideStatus:
    """One row of a status table: what became of one slide in one step, with the step's own figures."""

    slide_id: str
    step: str
    state: str  # "done" or "failed"
    reason: str = ""
    remedy: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)


def failed(slide_id: str, step: str, error: SlideError) -> SlideStatus:
    """Turn an error into its status row."""
    return SlideStatus(slide_id=slide_id, step=step, state="failed", reason=error.reason, remedy=error.remedy)


def status_row(row: SlideStatus) -> dict[str, object]:
    """Return a status as one flat row of columns."""
    columns = asdict(row)
    figures = columns.pop("figures")
    return {**columns, **figures}


def earlier_statuses(path: Path, slides: Collection[str]) -> list[SlideStatus]:
    """Return what a status table says of these slides: those that a run of a part of the study leaves alone."""
    if not slides or not path.is_file():
        return []
    rows = [row for row in read_named_rows(path) if row.get("slide_id") in slides]
    own = ("slide_id", "step", "state", "reason", "remedy")
    return [
        SlideStatus(
            **{name: row.get(name) or "" for name in own},  # type: ignore[arg-type]
            figures={name: value for name, value in row.items() if name not in own},
        )
        for row in rows
    ]


def write_status(path: Path, rows: Iterable[SlideStatus]) -> None:
    """Write the status table, sorted by slide; it holds no times, so a rerun writes the same bytes."""
    flat = [status_row(row) for row in sorted(rows, key=lambda row: row.slide_id)]
    names = list(dict.fromkeys(name for row in flat for name in row)) or [
        "slide_id",
        "step",
        "state",
        "reason",
        "remedy",
    ]
    write_table(path, names, [[row.get(name, "") for name in names] for row in flat])


def failure_table(rows: Sequence[SlideStatus]) -> str:
    """Return the failed slides as text for the screen, those of one reason together; empty when there are none."""
    bad = sorted((row for row in rows if row.state == "failed"), key=lambda row: row.slide_id)
    if not bad:
        return ""
    lines = [f"{len(bad)} of {len(rows)} slides failed:"]
    slides_of: dict[str, list[str]] = {}
    for row in bad:
        slides_of.setdefault(f"{row.reason}; {row.remedy}" if row.remedy else row.reason, []).append(row.slide_id)
    for text, slides in slides_of.items():
        more = f" and {len(slides) - MAX_NAMED} more" if len(slides) > MAX_NAMED else ""
        lines += wrapped_lines(f"{', '.join(slides[:MAX_NAMED])}{more}: {as_called(text)}")
    return "\n".join(lines)


wrapped_lines = functools.partial(  # a path that is copied off the screen must be whole
    textwrap.wrap,
    width=110,
    initial_indent="  ",
    subsequent_indent="      ",
    break_long_words=False,
    break_on_hyphens=False,
)


def exit_code(rows: Iterable[SlideStatus]) -> int:
    """Return 0 when every slide is done, else 1."""
    return EXIT_SOME_FAILED if any(row.state == "failed" for row in rows) else EXIT_DONE


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """Wrap a script's main: a StudyError is one message and exit code 2, Ctrl-C is 130, both without a traceback.

    A file that cannot be written (a full disk), a disk that fails and memory that runs out (in any thread) are exit code 2 too.
    """

    def guarded(argv: Sequence[str] | None) -> int:
        deaths: list[BaseException] = []
        try:
            with heard_threads(lambda error: machine_fault(error) is not None) as deaths:
                return main(argv)
        except (StudyError, UnwritableError) as error:
            print(f"error: {as_called(str(error))}", file=sys.stderr)
            return EXIT_WRONG_USE
        except KeyboardInterrupt:
            if deaths:  # of threads
                print(f"error: {machine_fault(deaths[0])}", file=sys.stderr)
                return EXIT_WRONG_USE
            print(INTERRUPTED, file=sys.stderr)
            return EXIT_INTERRUPTED
        except Exception as error:
            if (told := machine_fault(error)) is None:
                raise
            print(f"error: {told}", file=sys.stderr)
            return EXIT_WRONG_USE

    @functools.wraps(main)
    def wrapped(argv: Sequence[str] | None = None) -> int:
        code, trace = EXIT_SOME_FAILED, ""
        try:
            code = guarded(argv)
        except Exception:
            trace = traceback.format_exc()
            raise
        finally:
            for end in _endings:
                end(code, trace)
        return code

    return wrapped


def when_command_ends(end: Callable[[int, str], None]) -> Callable[[int, str], None]:
    """Have something done at the end of each script, with its exit code and the trace of an error that nobody expected."""
    _endings.append(end)
    return end


_endings: list[Callable[[int, str], None]] = []
