"""The images of a tile table: which can be embedded, why others cannot, one line a cause, and where missing ones may lie."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.failures import SlideError, StudyError
from features.embedding.tile_fields import field_side, unused_pixels

SMALLEST_SHARE = 0.5  # of a field's side: what is scaled up further is no tissue any more
MAX_NAMED = 5  # images or bags in a line for the screen
MAX_FOLDERS = 2_000  # that are searched for missing images
MAX_DEPTH = 4
REMEDIES = {
    "missing": "correct the paths in the table (absolute, or relative to the table or to --images DIR)",
    "unreadable": "replace the files that cannot be read",
    "large": "cut the large images into smaller ones",
    "small": "give a smaller --field_px, or leave the images out",
}
SEVERAL = {
    "missing": "{n} images are not there",
    "unreadable": "{n} images cannot be read",
    "large": "{n} images have too many pixels to be decoded",
    "small": "{n} images are smaller than half of a field of --field_px",
}  # a cause in words


@dataclass(frozen=True, kw_only=True)
class ImageFault:
    """Why an image is left out: the cause (a key of REMEDIES), the image, and all of it in words."""

    cause: str
    name: str
    words: str


@dataclass(frozen=True, kw_only=True)
class TileImages:
    """The images of a bag that can be embedded, with width and height, and what was left out, with the reason."""

    usable: tuple[tuple[Path, int, int], ...]
    faults: tuple[ImageFault, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out and why, a text a cause."""
        return tuple(_cause_text(cause, own) for cause, own in by_cause(self.faults).items())

    @property
    def names(self) -> list[str]:
        """The images' file names; with their folder where two have one name."""
        names = [path.name for path, _, _ in self.usable]
        return [
            name if names.count(name) == 1 else f"{path.parent.name}/{name}"
            for name, (path, _, _) in zip(names, self.usable, strict=True)
        ]

    def upscaled(self, field_px: int) -> list[tuple[Path, int, int]]:
        """Return the usable images that are smaller than a field, and so scaled up."""
        return [own for own in self.usable if min(own[1:]) < field_px]

    def unused_share(self, field_px: int) -> float:
        """Return the share of the usable images' pixels that lie in no field."""
        unused = sum(unused_pixels(w, h, field_side(w, h, field_px)) for _, w, h in self.usable)
        return unused / max(1, sum(w * h for _, w, h in self.usable))


def by_cause(faults: Iterable[ImageFault]) -> dict[str, list[ImageFault]]:
    """Return faults by their cause, in the order in which causes came first."""
    grouped: dict[str, list[ImageFault]] = {}
    for fault in faults:
        grouped.setdefault(fault.cause, []).append(fault)
    return grouped


def _cause_text(cause: str, faults: Sequence[ImageFault]) -> str:
    if len(faults) == 1:
        return faults[0].words
    return f"{SEVERAL[cause].format(n=len(faults))}: {', '.join(fault.name for fault in faults)}"


def none_usable(images: TileImages) -> SlideError:
    """Return the failure of a bag without any usable image."""
    remedy = ", and ".join(REMEDIES[cause] for cause in by_cause(images.faults))
    return SlideError(f"none of its {len(images.faults)} images can be used: " + "; ".join(images.left_out), remedy)


def image_notes(images_of: Mapping[str, TileImages], field_px: int, base: Path) -> list[str]:
    """Return what is to be said of a table's images before they are embedded: a line a cause, not one a bag.

    Args:
        images_of: bag to its images.
        field_px: side of a field.
        base: where relative paths start.
    """
    notes = []
    owner = {id(fault): bag for bag, images in images_of.items() for fault in images.faults}
    for cause, faults in by_cause(fault for images in images_of.values() for fault in images.faults).items():
        named = ", ".join(f"{owner[id(fault)]}: {fault.words}" for fault in faults[:MAX_NAMED])
        more = f" and {len(faults) - MAX_NAMED} more (all stand in status.csv)" if len(faults) > MAX_NAMED else ""
        hint = ""
        if cause == "missing" and (found := folder_that_holds([Path(fault.name) for fault in faults], base)):
            hint = f"; {found}"
        notes.append(f"left out: {named}{more}{hint}")
    small = [own for images in images_of.values() for own in images.upscaled(field_px)]
    if small:
        most = max(field_px / min(width, height) for _, width, height in small)
        sides = {min(width, height) for _, width, height in small}
        n_all = sum(len(images.usable) for images in images_of.values())
        advice = f"; --field_px {min(sides)} takes them as they are" if len(small) == n_all else ""
        notes.append(
            f"scaled up: {len(small)} of {n_all} images are smaller than a field of {field_px} px (shorter side "
            f"{min(sides)} to {max(sides)} px, enlarged up to {most:.2f} times){advice}"
        )
    wasted = {bag: share for bag, images in images_of.items() if (share := images.unused_share(field_px)) >= 0.005}
    if wasted:
        most_bag = max(sorted(wasted), key=wasted.__getitem__)
        notes.append(
            f"unused: of {len(wasted)} bag(s) a part of the pixels lies in no field of {field_px} px, the most "
            f"{wasted[most_bag]:.0%} ({most_bag}); each stands in status.csv"
        )
    return notes


def check_images_are_there(paths: Sequence[Path], base: Path) -> None:
    """Refuse a table none of whose images is there: it is one fault, not one a bag.

    Raises:
        StudyError: names the first, and the sub-folder that holds them if there is one.
    """
    if any(path.is_file() for path in paths):
        return
    found = folder_that_holds(paths, base) or REMEDIES["missing"]
    raise StudyError(f"none of the table's {len(paths)} images is there, the first is {paths[0]}; {found}")


def folder_that_holds(missing: Sequence[Path], base: Path) -> str:
    """Say which folder below `base` holds missing images, by their paths or else by their names; empty where none does."""
    relative = [path.relative_to(base) if path.is_relative_to(base) else Path(path.name) for path in missing]
    folders = _folders_below(base)
    for parts in (relative, [Path(path.name) for path in missing]):
        hits = {folder: sum((folder / part).is_file() for part in parts) for folder in folders}
        if hits and (most := max(hits.values())):
            best = min(folder for folder, n in hits.items() if n == most)
            whole = "they are" if most == len(missing) else f"{most} of these {len(missing)} are"
            start = best.relative_to(base).as_posix()
            remedy = (
                f"give --images {best}" if parts is relative else f"write the paths in the table as {start}/{parts[0]}"
            )
            return f"{whole} in {best}: {remedy}"
    return ""


def _folders_below(base: Path) -> list[Path]:
    """Return the folders below a folder, without hidden ones, so far down and so many that the search takes seconds."""
    found: list[Path] = []
    for where, folders, _ in os.walk(base):
        depth = len(Path(where).relative_to(base).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < MAX_DEPTH else []
        found += [Path(where) / name for name in folders]
        if len(found) > MAX_FOLDERS:
            break
    return found[:MAX_FOLDERS]
