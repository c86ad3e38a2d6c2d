"""A table of tile images, the form of the 2021 sarcoma notebook: patient_ID, Path, Label, training_set, is_valid.

One bag a patient. TRAIN patients train, VALID patients are the test set; where the table has a TEST set too, VALID
patients are the validation part. Paths are absolute, or relative to a base folder or to the table, with either slash.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from common.failures import SlideError, StudyError
from common.guards.names import name_fault
from common.table_cells import text_of
from common.tables.cohort_columns import KNOWN_COLUMNS, PATIENT_COLUMNS
from preprocessing.reading.flat_picture import MAX_WHOLE_PX, without_pixel_limit

COLUMNS = {  # our name: the names it goes by, in lower case
    "patient_id": ("patient_id", "patient"),
    "path": ("path", "file", "image"),
    "subtype": ("label", "subtype"),
    "set": ("training_set", "set"),
    "is_valid": ("is_valid",),
}
SETS = {"train": "train", "training": "train", "valid": "val", "validation": "val", "val": "val", "test": "test"}
TRUTHS = {"true": "val", "1": "val", "false": "train", "0": "train"}  # of is_valid


@dataclass(frozen=True, kw_only=True)
class TilePatient:
    """A patient of a tile table: the images of its bag, in the order of their paths."""

    patient_id: str
    subtype: str
    set: str  # "train", "val" or "test"; "" when the table names no sets
    images: tuple[Path, ...]
    others: Mapping[str, str] = field(
        default_factory=dict
    )  # the table's other columns, where the patient has one value


@dataclass(frozen=True, kw_only=True)
class TileImages:
    """The images of a patient that can be embedded, with width and height, and what was left out, with the reason."""

    usable: tuple[tuple[Path, int, int], ...]
    left_out: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The images' file names; with their folder where two have one name."""
        names = [path.name for path, _, _ in self.usable]
        return [
            name if names.count(name) == 1 else f"{path.parent.name}/{name}"
            for name, (path, _, _) in zip(names, self.usable, strict=True)
        ]


def read_tile_table(path: Path, *, base: Path | None = None) -> tuple[TilePatient, ...]:
    """Read and check a table of tile images; patients are sorted by id.

    Args:
        path: the table.
        base: the folder relative paths start from; by default the table's own.

    Raises:
        StudyError: the table is missing, lacks a column, or has faults: all are listed with their rows.
    """
    rows, names = _rows(path)
    faults: list[str] = []
    seen: dict[str, dict[str, set[str]]] = {}
    images: dict[str, list[Path]] = {}
    others = other_columns(list(rows[0]) if rows else [], names)
    for number, row in enumerate(rows, start=2):
        patient, image = row[names["patient_id"]].strip(), row[names["path"]].strip()
        if not patient or not image:
            faults.append(f"row {number}: no {'patient' if not patient else 'path'}")
            continue
        if fault := name_fault(patient):
            faults.append(f"row {number}: patient {patient!r} cannot be a file name: it {fault}")
        chosen = _set_of(row, names)
        if chosen is None:
            faults.append(f"row {number}: the set is neither TRAIN nor VALID nor TEST")
        values = seen.setdefault(patient, {"subtype": set(), "set": set()})
        values["subtype"].add(row[names["subtype"]].strip())
        values["set"].add(chosen or "")
        for ours, theirs in others.items():
            values.setdefault(ours, set()).add(row.get(theirs, "").strip())
        images.setdefault(patient, []).append(image_path(image, path.parent if base is None else base))
    of_patients = [name for name in others if name in PATIENT_COLUMNS]
    faults += [*_patient_faults(seen, images, of_patients), *_shared_images(images)]
    if faults or not images:
        raise StudyError(f"{path} has {len(faults)} fault(s):\n  " + "\n  ".join(faults[:30] or ["no rows"]))
    return tuple(
        TilePatient(
            patient_id=patient,
            subtype=next(iter(seen[patient]["subtype"])),
            set=next(iter(seen[patient]["set"])),
            images=tuple(sorted(images[patient])),
            others=_others(seen, patient, others),
        )
        for patient in sorted(images)
    )


def other_columns(header: Sequence[str], names: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of a tile table beside its own: the name in the clinical table to the name here.

    A name that means something in the clinical table is taken for that whatever its case; one that it gets from the table's
    own columns (slide_id, and a second label or set) is not among them.

    Args:
        header: the names of the table's columns.
        names: our name to the table's name of its own columns.
    """
    taken = {*COLUMNS["path"][:1], "is_valid", *names, "patient_id", "slide_id", "subtype", "set"}
    left = {theirs: theirs.strip() for theirs in header if theirs not in names.values() and theirs.strip()}
    ours = {theirs: name.lower() if name.lower() in KNOWN_COLUMNS else name for theirs, name in left.items()}
    return {name: theirs for theirs, name in ours.items() if name.lower() not in taken}


def columns_by_image(path: Path, patients: Sequence[TilePatient]) -> list[str]:
    """Return the other columns of a tile table whose values differ between the images of a patient."""
    rows, names = _rows(path)
    return [name for name in other_columns(list(rows[0]), names) if name not in patients[0].others]


def _others(seen: dict[str, dict[str, set[str]]], patient: str, others: Mapping[str, str]) -> dict[str, str]:
    """Return a patient's values of the other columns that have one value a patient, throughout the table."""
    kept = [name for name in others if all(len(values[name] - {""}) <= 1 for values in seen.values())]
    return {name: next(iter(seen[patient][name] - {""}), "") for name in kept}


def _patient_faults(
    seen: dict[str, dict[str, set[str]]], images: dict[str, list[Path]], of_patients: Sequence[str]
) -> list[str]:
    """Return what is wrong with each patient; without a TEST set, VALID patients become the test set."""
    faults: list[str] = []
    has_test = any("test" in values["set"] for values in seen.values())
    for patient, values in sorted(seen.items()):
        if not has_test:
            values["set"] = {"test" if own == "val" else own for own in values["set"]}
        for name, word in (("subtype", "labels"), ("set", "sets")):
            if len(values[name]) > 1:
                faults.append(f"patient {patient} is in two {word}: {', '.join(sorted(values[name]))}")
        faults += [
            f"patient {patient} has two values of {name}: {', '.join(sorted(given))}"
            for name in of_patients
            if len(given := values[name] - {""}) > 1
        ]
        if "" in values["subtype"]:
            faults.append(f"patient {patient} has no label")
        double = {image for image in images[patient] if images[patient].count(image) > 1}
        faults += [f"patient {patient}: {image.name} stands in the table twice" for image in sorted(double)]
    return faults


def _shared_images(images: dict[str, list[Path]]) -> Iterator[str]:
    """Yield images that stand under two patients: one of them may train on what the other is tested by."""
    owner: dict[str, str] = {}
    for patient in sorted(images):
        for image in sorted(set(images[patient])):
            first = owner.setdefault(str(image.resolve()), patient)
            if first != patient:
                yield f"{image} stands under two patients, {first} and {patient}"


def image_path(text: str, base: Path) -> Path:
    """Return the place of an image: absolute as it stands, else below the base folder; backslashes are slashes."""
    if "\\" in text and not (base / text).exists():
        text = PureWindowsPath(text).as_posix()
    return base / text


def usable_images(patient: TilePatient, field_px: int) -> TileImages:
    """Return the images of a patient that are there, open and hold a field; the others are named with the reason.

    Raises:
        SlideError: none is left.
    """
    from PIL import Image, UnidentifiedImageError

    usable, left_out = [], []
    for path in patient.images:
        if not path.is_file():
            left_out.append(f"no image {path}")
            continue
        try:
            with without_pixel_limit(), Image.open(path) as file:
                width, height = file.size
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            left_out.append(f"{path.name} cannot be read as an image ({error})")
            continue
        if width * height > MAX_WHOLE_PX:
            left_out.append(f"{path.name} is {width} x {height} px, more than {MAX_WHOLE_PX:,} in all")
            continue
        if min(width, height) < field_px:
            left_out.append(f"{path.name} is {width} x {height} px, smaller than a field of {field_px} px")
            continue
        usable.append((path, width, height))
    if not usable:
        remedy = "correct the paths in the table (absolute, or relative to the table or to --images DIR), or replace the files"
        raise SlideError(f"none of its {len(patient.images)} images can be used: " + "; ".join(left_out), remedy)
    return TileImages(usable=tuple(usable), left_out=tuple(left_out))


def _rows(path: Path) -> tuple[list[dict[str, str]], dict[str, str]]:
    if not path.is_file():
        raise StudyError(
            f"no tile table at {path}; wanted a CSV with the columns patient_ID, Path, Label, training_set"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [{key: text_of(value or "") for key, value in row.items() if key} for row in reader]
            header = {str(name).strip().lower(): str(name) for name in reader.fieldnames or []}
    except (UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path}: not readable as a CSV table ({error})") from error
    names = {ours: header[theirs] for ours, known in COLUMNS.items() for theirs in known[::-1] if theirs in header}
    missing = [ours for ours in ("patient_id", "path", "subtype") if ours not in names]
    if missing:
        raise StudyError(
            f"{path}: no column for {', '.join(missing)}; wanted patient_ID, Path, Label; found {', '.join(header)}"
        )
    return rows, names


def _set_of(row: dict[str, str], names: dict[str, str]) -> str | None:
    """Return "train", "val" or "test", "" when the table has no sets, None when the value is none of them."""
    if "set" in names:
        return SETS.get(row[names["set"]].strip().lower())
    if "is_valid" in names:
        return TRUTHS.get(row[names["is_valid"]].strip().lower())
    return ""
