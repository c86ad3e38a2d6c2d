"""The slides of a study: files in its folder, and those that the clinical table gives an address of (column slide_url)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from common.remote.address import Address, address_fault
from common.remote.remote_slide import Origin, now, origin_of, remote_slide
from common.remote.slide_cache import SlideCache
from common.settings import option
from common.slide_files import DICOM_ENDING, SLIDE_ENDINGS, SPLIT_ENDINGS, find_slides, named_as_in_table
from common.study import Study
from common.tables.cohort_columns import Numbered, Row, grouped_faults
from common.tables.column_mapping import URL_COLUMN

OF_SEVERAL_FILES = SPLIT_ENDINGS | {".mrxs"}
GB = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class SlideCacheConfig:
    """Where slides of a column slide_url are fetched to."""

    cache: Path | None = option(
        None,
        help="folder on a local disk for slides that the table gives an address of (column slide_url); unset: cache in the "
        "study folder",
        group="slides elsewhere",
    )
    cache_gb: float = option(
        50.0,
        help="most gigabytes of fetched slides that are kept there; the least recently used leaves, one that is being read stays",
        group="slides elsewhere",
    )

    def check_cache(self) -> None:
        """Check the range."""
        if not self.cache_gb >= 0:
            raise ValueError(f"--cache_gb is a number of gigabytes from 0, got {self.cache_gb}")


CACHE_OPTIONS = ("cache", "cache_gb")  # they change no result


def study_slides(
    study: Study,
    addresses: Mapping[str, Address],
    slide_ids: Collection[str],
    config: SlideCacheConfig,
    *,
    folder: Path | None = None,
) -> dict[str, Path]:
    """Return slide id to file for every slide of a study, sorted by id, as `find_slides`; nothing is fetched yet.

    A slide with an address whose file lies in the folder too is read there.

    Args:
        study: the study; its folder of slides may be missing where the table has addresses.
        addresses: of slides that lie elsewhere.
        slide_ids: the table's spelling of ids.
        config: where slides are fetched to.
        folder: of slide files; None: the study's.

    Raises:
        StudyError: as `find_slides`; also where neither a file nor an address is there.
    """
    found = find_slides(folder or study.slides, is_needed=not addresses)
    files = named_as_in_table(found, slide_ids)
    since = now()
    cache = SlideCache((config.cache or study.root / "cache").absolute(), round(config.cache_gb * GB))
    for slide_id, address in addresses.items():
        if slide_id in files:
            continue
        if address.scheme == "file":
            from urllib.request import url2pathname  # brings all of HTTP along

            path = Path(url2pathname(urlsplit(address.text).path))
            if path.exists():
                files[slide_id] = path
        else:
            record = study.root.absolute() / "slides_elsewhere" / f"{slide_id}.json"
            files[slide_id] = remote_slide(Origin(address, slide_id, cache, record, since))
    return dict(sorted(files.items()))


def slides_here(files: Mapping[str, Path]) -> dict[str, Path]:
    """Return the slides that lie on this computer."""
    return {slide_id: path for slide_id, path in files.items() if origin_of(path) is None}


def taken_addresses(
    names: Sequence[str], rows: Iterable[Numbered]
) -> tuple[tuple[str, ...], list[tuple[Row, Address]], list[str]]:
    """Take the column of addresses out of a table, so that no part of them goes the way of the other columns.

    Returns:
        The names of the other columns; rows with their address; the faults.
    """
    if URL_COLUMN not in names:
        return tuple(names), [], []
    found: list[tuple[Row, Address]] = []
    faults: list[tuple[int, str]] = []
    for number, row in rows:
        text = row.pop(URL_COLUMN)
        if text is None:
            continue
        if fault := address_fault(text) or _ending_fault(Address(text)):
            faults.append((number, f"{URL_COLUMN} {fault}"))
        else:
            found.append((row, Address(text)))
    return tuple(name for name in names if name != URL_COLUMN), found, grouped_faults(faults)


def _ending_fault(address: Address) -> str:
    ending = address.ending.lower()
    if ending in OF_SEVERAL_FILES and address.scheme != "file":
        return f"names a slide of several files ({ending}); copy these to slides/"
    if ending in (".zip", ".gz", ".tar", ".7z", ".rar"):
        wanted = ", ".join(sorted(SLIDE_ENDINGS | {DICOM_ENDING}))
        return f"names an archive ({ending}); wanted the slide itself, ending in {wanted}"
    return ""
