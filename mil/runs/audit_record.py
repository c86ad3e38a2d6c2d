"""What audit.json holds, written and read back: what could have leaked between the parts of the folds."""

from __future__ import annotations

from dataclasses import dataclass

from mil.runs.facts import TRAIN_AGAIN
from mil.runs.record import Scalar, read_record, write_record
from mil.runs.run_folder import RunFolder

AUDIT_SCHEMA = "audit/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckTable:
    """The table of a check."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Scalar, ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check: a verdict (ok, warning or leak), what was found in words, and a table where there is one."""

    name: str
    verdict: str
    text: str
    table: CheckTable | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """Every check of a run."""

    checks: tuple[Check, ...]


def write_audit(folder: RunFolder, audit: Audit) -> None:
    """Write audit.json."""
    write_record(folder.audit, audit, AUDIT_SCHEMA)


def read_audit(folder: RunFolder) -> Audit | None:
    """Read audit.json; None where there is none.

    Raises:
        StudyError: it is of another schema, or no such record.
    """
    return read_record(folder.audit, Audit, AUDIT_SCHEMA, TRAIN_AGAIN) if folder.audit.is_file() else None
