"""Slide files of a folder: which files are one slide, what it is called, and a fingerprint of its bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from common.failures import SlideError, StudyError
from common.files import pass_disk_fault
from common.remote.remote_slide import origin_of, remembered_fingerprint, remote_fingerprint
from common.unread_files import one_spelling, what_is_unread

# The endings of OpenSlide's formats and of flat images. DICOM stands apart: several files are one slide.
SLIDE_ENDINGS = frozenset(
    {".svs", ".tif", ".tiff", ".qptiff", ".ndpi", ".mrxs", ".scn", ".bif", ".avs", ".svslide", ".vms", ".vmu", ".czi"}
    | {".png", ".jpg", ".jpeg"}
)
SPLIT_ENDINGS = frozenset({".vms", ".vmu"})  # Hamamatsu's older formats: an index whose pixels lie in JPEGs beside it
JPEG_ENDINGS = frozenset({".jpg", ".jpeg"})
DICOM_ENDING = ".dcm"


def file_fingerprint(path: Path) -> str:
    """Identify a file's content by its size and three 1 MiB samples (start, middle, end): a sha256, hex.

    A folder (a DICOM series) is identified by all its files but hidden ones, an index of MIRAX or Hamamatsu's older formats
    also by the files beside it that hold its pixels. Name, place and dates do not count.

    Raises:
        SlideError: a slide that lies elsewhere cannot be asked for, or not fetched.
    """
    if origin_of(path) is not None:
        return remote_fingerprint(path, file_fingerprint)
    digest = hashlib.sha256()
    sample = 1 << 20
    for part in _parts(path):
        size = part.stat().st_size
        digest.update(f"{size};".encode())
        with part.open("rb") as file:
            for start in sorted({0, max(0, size // 2 - sample // 2), max(0, size - sample)}):
                file.seek(start)
                digest.update(file.read(sample))
    return digest.hexdigest()


def fingerprint_at_hand(path: Path) -> str:
    """Identify a file's content without asking for a slide that lies elsewhere: "" where that is not known.

    Raises:
        OSError: a file of this computer cannot be read.
    """
    return file_fingerprint(path) if origin_of(path) is None else remembered_fingerprint(path)


def _parts(path: Path) -> list[Path]:
    """Return the files that make up a slide."""
    if path.is_dir():
        return _files_in(path)
    ending = path.suffix.lower()
    if ending == ".mrxs":
        return [path, *_files_in(path.with_suffix(""))]
    if ending in (".vms", ".vmu"):
        index = path.read_text(encoding="utf-8", errors="replace")
        values = [line.partition("=")[2].strip() for line in index.splitlines()]
        beside = (path.with_name(value) for value in values if value.strip(".") and not {"/", "\\", "\0"} & set(value))
        return [path, *sorted({file for file in beside if file != path and file.is_file()})]
    return [path]


def _files_in(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))


def find_slides(folder: Path, *, is_needed: bool = True) -> dict[str, Path]:
    """Return slide id to file for every slide below a folder, sorted by id; the id is the file name without ending.

    DICOM: a subfolder with one series is a slide of the folder's name (damaged files count to it). Where several series
    lie in a folder, or files lie in `folder` itself, each series is a slide, named after and opened through its largest
    file.

    Args:
        folder: the folder.
        is_needed: whether there must be one; the slides of a study may all lie elsewhere.

    Raises:
        StudyError: the folder is missing or holds no slide though it must, two files have one id, or a name cannot be written down.
    """
    if not folder.is_dir():
        if not is_needed:
            return {}
        raise StudyError(f"no folder {folder}: put the slides there, in subfolders if you like")
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(_files_below(folder)):
        if path.suffix.lower() in SLIDE_ENDINGS | {DICOM_ENDING} and path.is_file():
            _check_name(path)
            by_folder.setdefault(path.parent, []).append(path)
    found: dict[str, list[Path]] = {}
    for parent, files in by_folder.items():
        for slide_id, path in _slides_among(files, parent, is_top=parent == folder):
            found.setdefault(slide_id, []).append(path)
    if not found and is_needed:
        others = [f"{path.name} is {what_is_unread(path.name)[0]}" for path in sorted(_files_below(folder))[:3]]
        found_instead = f" ({'; '.join(others)})" if others else ""
        raise StudyError(
            f"no slides in {folder}{found_instead}; wanted files ending in {', '.join(sorted(SLIDE_ENDINGS))} or .dcm"
        )
    double = {name: paths for name, paths in found.items() if len(paths) > 1}
    if double:
        lines = "; ".join(f"{name}: {', '.join(map(str, paths))}" for name, paths in sorted(double.items()))
        raise StudyError(f"two files with one slide id in {folder}: {lines}. Rename or remove one of each")
    return {name: paths[0] for name, paths in sorted(found.items())}


def named_as_in_table(files: Mapping[str, Path], slide_ids: Collection[str]) -> dict[str, Path]:
    """Return the files of `find_slides`, each under the spelling of the table where only that differs (é as one sign or two)."""
    in_table = {one_spelling(slide_id): slide_id for slide_id in sorted(slide_ids) if slide_id not in files}
    named = {
        name if name in slide_ids else in_table.get(one_spelling(name), name): path for name, path in files.items()
    }
    return dict(sorted(named.items())) if len(named) == len(files) else dict(files)


def no_such_slide(slide_id: str, folder: Path) -> SlideError:
    """Return why a slide of the table has no file: the file that is meant, where one is there, and why it is not taken."""
    reason, remedy = "the table has this slide, but there is no such file", "add the file to slides/, or remove the row"
    near = _near(slide_id, folder)
    return SlideError(reason, remedy) if near is None else SlideError(f"{reason}: {near[0]}", near[1])


def _near(slide_id: str, folder: Path) -> tuple[str, str] | None:
    """Return which file of the folder is meant and what is wrong with it, and what to do."""
    wanted = _folded(slide_id)
    names = _names_below(folder, folder.stat().st_mtime_ns) if folder.is_dir() else ()
    for name in names:
        stem, ending = _folded(Path(name).stem), Path(name).suffix.lower()
        is_slide = ending in SLIDE_ENDINGS | {DICOM_ENDING}
        if is_slide and wanted in (stem, stem + ending):
            what = (
                "differs from it only in its spelling"
                if wanted == stem
                else "is there, and the table has the ending too"
            )
            return f"{name} {what}", f"write {Path(name).stem} in the table"
    for name in names:
        is_slide = Path(name).suffix.lower() in SLIDE_ENDINGS | {DICOM_ENDING}
        if not is_slide and (_folded(name) + ".").startswith(wanted + "."):
            what, remedy = what_is_unread(name)
            return f"{name} is there, {what}", remedy
    return None


@lru_cache(maxsize=2)
def _names_below(folder: Path, _time: int) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in _files_below(folder)))


def _folded(name: str) -> str:
    """Return a name without what people mistake: capitals, spaces, how letters are composed."""
    return "".join(one_spelling(name).casefold().split())


def _check_name(path: Path) -> None:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise StudyError(
            f"the name of {str(path)!a} is not in UTF-8 (a zip archive or a share made it so); rename the file"
        ) from error


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, through links to folders too, each folder once; hidden ones are passed over."""
    seen: set[str] = set()
    for place, subfolders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to what was seen, or back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _slides_among(files: list[Path], parent: Path, *, is_top: bool) -> Iterator[tuple[str, Path]]:
    """Yield slide id and path of each slide among the slide files of one folder."""
    endings = {path.suffix.lower() for path in files}
    dicom = [path for path in files if path.suffix.lower() == DICOM_ENDING]
    parts = JPEG_ENDINGS if endings & SPLIT_ENDINGS else frozenset()
    for path in files:
        if path.suffix.lower() not in parts | {DICOM_ENDING}:
            yield path.stem, path
    if not dicom:
        return
    by_series = [(True, dicom)] if len(dicom) == 1 else dicom_series(dicom)
    if not is_top and sum(is_named for is_named, _ in by_series) <= 1:
        yield parent.name, parent
        return
    for _, members in by_series:
        largest = max(members, key=lambda path: path.stat().st_size)
        yield largest.stem, largest


def dicom_series(files: Sequence[Path]) -> list[tuple[bool, list[Path]]]:
    """Group DICOM files by the series they say they belong to.

    Returns:
        (whether they name a series, the files sorted by name), in the order of their first files; a file that names no
        series, such as a damaged one, stands alone.
    """
    from pydicom.config import settings
    from pydicom.filereader import dcmread

    settings.reading_validation_mode = 0  # IGNORE: odd values elsewhere in the header are no concern here
    found: dict[str | Path, list[Path]] = {}
    for path in sorted(files):
        series: str | Path = path
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
            series = str(header.get("SeriesInstanceUID", "")) or path
        except (
            Exception
        ) as error:  # no DICOM file, or a broken header, of which pydicom raises anything: opening it tells
            pass_disk_fault(error)
        found.setdefault(series, []).append(path)
    return [(isinstance(series, str), members) for series, members in found.items()]
