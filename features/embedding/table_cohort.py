"""The clinical table that a tile table implies, one row a bag: made where there is none; what a person put into it stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError
from common.files import write_table
from common.study import Study
from common.tables.clinical_table import is_missing_word, read_text_table
from features.embedding.tile_table import TilePatient

SHOWN = 3  # patients in a message


@dataclass(frozen=True, kw_only=True)
class ImpliedCohort:
    """The clinical table to write, its header first (none where the study has it), and what is to be known of it."""

    path: Path
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def write(self) -> None:
        """Write the table, where there is one to write."""
        if self.rows:
            write_table(self.path, self.rows[0], self.rows[1:])


def implied_cohort(study: Study, patients: Sequence[TilePatient], left_out: Sequence[str] = ()) -> ImpliedCohort:
    """Return the clinical table that a tile table implies.

    In one that is there already, columns of a person stay, and so do other values than the tile table's; columns that the tile
    table has got since are added, in a CSV.

    Args:
        study: where it stands.
        patients: of the tile table.
        left_out: columns of the tile table that go by images.

    Raises:
        StudyError: the table that is there is of other patients, labels or sets; what differs is named.
    """
    path = study.cohort_table
    notes = [
        f"{name} of the tile table goes by images, not patients, and stays out of {path.name}" for name in left_out
    ]
    wanted = [_row(patient) for patient in patients]
    if not path.is_file():
        return ImpliedCohort(path=path, rows=_table(list(wanted[0]), wanted), notes=tuple(notes))
    table = read_text_table(path)
    given = {_bag(row): row for _, row in table.rows}
    if fault := _difference(wanted, given, len(table.rows), table.columns):
        raise StudyError(
            f"{path} belongs to another study: {fault}; give the tile table a folder of its own with --study DIR, or correct "
            f"one of the two tables"
        )
    new = [name for name in wanted[0] if name not in table.columns]
    notes += _differing_values(path, wanted, given, [name for name in patients[0].others if name not in new])
    if not new:
        return ImpliedCohort(path=path, notes=tuple(notes))
    if path.suffix != ".csv":
        notes.append(f"{path.name} lacks {', '.join(new)} of the tile table; add them there if they are wanted")
        return ImpliedCohort(path=path, notes=tuple(notes))
    by_bag = {_bag(row): row for row in wanted}
    rows = [
        {name: text or "" for name, text in row.items()} | {name: by_bag[bag][name] for name in new}
        for bag, row in given.items()
    ]
    return ImpliedCohort(path=path, rows=_table([*table.columns, *new], rows), notes=tuple(notes))


def _row(patient: TilePatient) -> dict[str, str]:
    own = {"patient_id": patient.patient_id, "slide_id": patient.bag_id, "subtype": patient.subtype}
    return own | ({"set": patient.set} if patient.set else {}) | dict(patient.others)


def _bag(row: Mapping[str, str | None]) -> str:
    """Return what tells the rows of a clinical table apart: the slide, which bears the patient's name where there is none."""
    return str(row.get("slide_id") or row.get("patient_id"))


def _table(names: Sequence[str], rows: Sequence[dict[str, str]]) -> tuple[tuple[str, ...], ...]:
    return (tuple(names), *(tuple(row[name] for name in names) for row in rows))


def _difference(
    wanted: Sequence[dict[str, str]], given: dict[str, dict[str, str | None]], n_rows: int, columns: Sequence[str]
) -> str:
    """Say where a clinical table is not of the patients of a tile table; empty where it is."""
    bags = {_bag(row) for row in wanted}
    for some, where in (
        (bags - set(given), "only the tile table has"),
        (set(given) - bags, "the tile table lacks"),
    ):
        if some:
            return f"{where} {_some(sorted(some))}"
    if n_rows > len(given):
        return "it has several rows of one patient or slide"
    for name in ("slide_id", "subtype", "set"):
        if (name in wanted[0]) != (name in columns):
            return f"only {'the tile table has' if name in wanted[0] else 'it has'} {name if name != 'subtype' else 'labels'}"
        for row in wanted if name in wanted[0] else ():
            found = given[_bag(row)][name]
            if not _is_same(row[name], found):
                return f"{name} of {_bag(row)} is {found or 'missing'} there and {row[name]} in the tile table"
    return ""


def _differing_values(
    path: Path, wanted: Sequence[dict[str, str]], given: dict[str, dict[str, str | None]], names: Sequence[str]
) -> Iterator[str]:
    for name in names:
        patients = [_bag(row) for row in wanted if not _is_same(row[name], given[_bag(row)][name])]
        if patients:
            yield f"{name} differs between {path.name} and the tile table ({_some(patients)}); {path.name} stands"


def _is_same(one: str, other: str | None) -> bool:
    return (None if is_missing_word(one) else one.strip() or None) == other


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
