"""A table of tile images, the form of the 2021 sarcoma notebook: patient_ID, Path, Label, training_set, is_valid.

One bag a patient, or a slide where the table has a column slide_id. TRAIN patients train, VALID patients are the test set;
where the table has a TEST set too, VALID patients are the validation part. Paths are absolute, or relative to a base folder
or to the table, with either slash.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from common.failures import StudyError
from common.files import pass_disk_fault
from common.guards.names import name_fault
from common.table_cells import text_of
from common.tables.cohort_columns import KNOWN_COLUMNS, PATIENT_COLUMNS, grouped_faults
from features.embedding.tile_images import SMALLEST_SHARE, ImageFault, TileImages, none_usable
from preprocessing.reading.flat_picture import MAX_WHOLE_PX, without_pixel_limit

COLUMNS = {  # our name: the names it goes by, in lower case
    "patient_id": ("patient_id", "patient"),
    "path": ("path", "file", "image"),
    "subtype": ("label", "subtype"),
    "set": ("training_set", "set"),
    "is_valid": ("is_valid",),
    "slide_id": ("slide_id", "slide"),  # optional
}
OF_TWO_LESIONS = (
    "; where two lesions have labels of their own, name the slides in a column slide_id and write 'unit: slide' in "
    "study.yaml"
)
SETS = {"train": "train", "training": "train", "valid": "val", "validation": "val", "val": "val", "test": "test"}
TRUTHS = {"true": "val", "1": "val", "false": "train", "0": "train"}  # of is_valid


@dataclass(frozen=True, kw_only=True)
class TilePatient:
    """A bag of a tile table: a patient, or one of its slides where the table names slides; its images by their paths."""

    patient_id: str
    subtype: str
    set: str  # "train", "val" or "test"; "" when the table names no sets
    images: tuple[Path, ...]
    slide_id: str = ""  # of a table with slides
    others: Mapping[str, str] = field(default_factory=dict)  # the table's other columns, where each bag has one value

    @property
    def bag_id(self) -> str:
        """The name of the bag's feature file, and its slide_id in the clinical table."""
        return self.slide_id or self.patient_id


@dataclass
class _Seen:
    """What the rows say of one patient or slide."""

    labels: set[str] = field(default_factory=set)
    images: list[Path] = field(default_factory=list)
    others: dict[str, set[str]] = field(default_factory=dict)


def read_tile_table(path: Path, *, base: Path | None = None) -> tuple[TilePatient, ...]:
    """Read and check a table of tile images; bags are sorted by patient and slide.

    Args:
        path: the table.
        base: the folder relative paths start from; by default the table's own.

    Raises:
        StudyError: the table is missing, lacks a column, or has faults: all are listed with their rows.
    """
    rows, names = _rows(path)
    has_slides = "slide_id" in names
    faults: list[tuple[int, str]] = []
    sets: dict[str, set[str]] = {}
    bags: dict[tuple[str, str], _Seen] = {}
    others = other_columns(list(rows[0]) if rows else [], names)
    for number, row in enumerate(rows, start=2):
        patient, image = row[names["patient_id"]].strip(), row[names["path"]].strip()
        slide = row[names["slide_id"]].strip() if has_slides else ""
        lacking = [
            word
            for word, text in (("patient", patient), ("path", image), ("slide", slide or not has_slides))
            if not text
        ]
        if lacking:
            faults.append((number, f"no {lacking[0]}"))
            continue
        for word, text in (("patient", patient), ("slide", slide)):
            if text and (fault := name_fault(text)):
                faults.append((number, f"{word} {text!r} cannot be a file name: it {fault}"))
        chosen = _set_of(row, names)
        if chosen is None:
            faults.append((number, "the set is neither TRAIN nor VALID nor TEST"))
        sets.setdefault(patient, set()).add(chosen or "")
        seen = bags.setdefault((patient, slide), _Seen())
        seen.labels.add(row[names["subtype"]].strip())
        seen.images.append(image_path(image, path.parent if base is None else base))
        for ours, theirs in others.items():
            seen.others.setdefault(ours, set()).update({row.get(theirs, "").strip()} - {""})
    images: dict[str, list[Path]] = {}
    for (patient, _), seen in bags.items():
        images.setdefault(patient, []).extend(seen.images)
    of_patients = [name for name in others if name in PATIENT_COLUMNS]
    found = [
        *grouped_faults(faults), *_set_faults(sets), *_bag_faults(bags), *_patient_faults(bags, of_patients),
        *_shared_images(images),
    ]  # fmt: skip
    if found or not images:
        raise StudyError(f"{path} has {len(found)} fault(s):\n  " + "\n  ".join(found[:30] or ["no rows"]))
    kept = [name for name in others if all(len(seen.others[name]) <= 1 for seen in bags.values())]
    return tuple(
        TilePatient(
            patient_id=patient, slide_id=slide, subtype=next(iter(seen.labels)), set=next(iter(sets[patient])),
            images=tuple(sorted(seen.images)), others={name: next(iter(seen.others[name]), "") for name in kept},
        )
        for (patient, slide), seen in sorted(bags.items())
    )  # fmt: skip


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
    """Return the other columns of a tile table whose values differ between the images of a bag."""
    rows, names = _rows(path)
    return [name for name in other_columns(list(rows[0]), names) if name not in patients[0].others]


def _set_faults(sets: dict[str, set[str]]) -> Iterator[str]:
    """Yield patients in two sets; without a TEST set, VALID patients become the test set."""
    has_test = any("test" in own for own in sets.values())
    for patient in sorted(sets):
        if not has_test:
            sets[patient] = {"test" if name == "val" else name for name in sets[patient]}
        if len(sets[patient]) > 1:
            yield f"patient {patient} is in two sets: {', '.join(sorted(sets[patient]))}"


def _bag_faults(bags: Mapping[tuple[str, str], _Seen]) -> Iterator[str]:
    """Yield what is wrong with each patient or slide."""
    owner: dict[str, str] = {}
    for (patient, slide), seen in sorted(bags.items()):
        who = f"slide {slide}" if slide else f"patient {patient}"
        if slide and (first := owner.setdefault(slide, patient)) != patient:
            yield f"slide {slide} is of two patients, {first} and {patient}"
        if len(seen.labels) > 1:
            yield f"{who} is in two labels: {', '.join(sorted(seen.labels))}{'' if slide else OF_TWO_LESIONS}"
        if "" in seen.labels:
            yield f"{who} has no label"
        double = {image for image in seen.images if seen.images.count(image) > 1}
        for image in sorted(double):
            yield f"{who}: {image.name} stands in the table twice"


def _patient_faults(bags: Mapping[tuple[str, str], _Seen], of_patients: Sequence[str]) -> Iterator[str]:
    """Yield patients with two values of what a patient has one of."""
    for patient in sorted({patient for patient, _ in bags}):
        for name in of_patients:
            given = set().union(*(seen.others.get(name, set()) for (own, _), seen in bags.items() if own == patient))
            if len(given) > 1:
                yield f"patient {patient} has two values of {name}: {', '.join(sorted(given))}"


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


def survey_images(patient: TilePatient, field_px: int) -> TileImages:
    """Return the images of a patient that are there, open and hold a field; the others are named with the reason."""
    usable, faults = [], []
    for path in patient.images:
        found = _size_or_fault(path, field_px)
        if isinstance(found, ImageFault):
            faults.append(found)
        else:
            usable.append((path, *found))
    return TileImages(usable=tuple(usable), faults=tuple(faults))


def usable_images(patient: TilePatient, field_px: int) -> TileImages:
    """Return the images of a patient as `survey_images` does.

    Raises:
        SlideError: none is left.
    """
    images = survey_images(patient, field_px)
    if not images.usable:
        raise none_usable(images)
    return images


def _size_or_fault(path: Path, field_px: int) -> tuple[int, int] | ImageFault:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        return ImageFault(cause="missing", name=str(path), words=f"no image {path}")
    try:
        with without_pixel_limit(), Image.open(path) as file:
            width, height = file.size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        pass_disk_fault(error)
        words = f"{path.name} cannot be read as an image ({error})"
        return ImageFault(cause="unreadable", name=path.name, words=words)
    size = f"{path.name} is {width} x {height} px"
    if width * height > MAX_WHOLE_PX:
        return ImageFault(cause="large", name=path.name, words=f"{size}, more than {MAX_WHOLE_PX:,} in all")
    if min(width, height) < SMALLEST_SHARE * field_px:
        return ImageFault(cause="small", name=path.name, words=f"{size}, smaller than half of a field of {field_px} px")
    return width, height


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
