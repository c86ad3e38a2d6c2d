"""Aggregate the stored colour fits of chosen slides into one reference that other slides are mapped to.

Choose slides of the training part only (--where or --slides), so that nothing of a test set decides its colours. Leaves
stain_references/<name>.json with vectors, percentiles, CIELAB, and the slides and methods it was made of; give it to
features/extract_features.py or preprocessing/export_tiles.py as --stain_reference.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in {None, ""}:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # run by path: import the project, not this folder

from common.failures import StudyError, command
from common.names import checked_name
from common.settings import option, parse_config
from common.study import Study, open_study

if TYPE_CHECKING:
    from preprocessing.colour.stain import StainFit

BUILT_IN = ("reference", "none")  # methods that say nothing of a slide's own stains


@dataclass(frozen=True, kw_only=True)
class ReferenceConfig:
    """The settings of make_stain_reference.py."""

    study: Path = option(Path("study"), help="study folder, tiled", group="study")
    where: str | None = option(
        None,
        help="slides of rows for which this holds, such as \"set == 'train'\"; of a missing value nothing holds",
        group="study",
    )
    slides: str | None = option(None, help="instead: slide ids, separated by commas", group="study")
    name: str = option("default", help="name of the file, without ending", group="reference")

    def __post_init__(self) -> None:
        """Check that one choice was made and that the name can be a file's."""
        if self.where is not None and self.slides is not None:
            raise ValueError("give --where or --slides, not both")
        checked_name(self.name, "--name")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the reference and say what is in it."""
    config = parse_config(ReferenceConfig, argv, section="make_stain_reference", description=__doc__)
    study = open_study(config.study)
    from common.cohort import read_cohort
    from preprocessing.colour.stain_store import aggregate, write_reference

    known = [row["slide_id"] for row in read_cohort(study.cohort_table, where=config.where).rows]
    chosen = _chosen(config.slides, known)
    fits = {slide_id: _fit(study, slide_id) for slide_id in chosen}
    left_out = [slide_id for slide_id, fit in fits.items() if fit.method in BUILT_IN]
    try:
        reference = aggregate(list(fits.values()))
    except ValueError as error:
        raise StudyError(f"{study.tiles}: {error}; look at the column stain_fallback of status.csv") from error
    used = {slide_id: fit.method for slide_id, fit in fits.items() if slide_id not in left_out}
    path = study.root / "stain_references" / f"{config.name}.json"
    write_reference(path, reference, name=config.name, made_of={"slides": used, "left_out": left_out})
    print(f"{path}: {len(used)} slides; {len(left_out)} left out, for they have no stain fit of their own")
    return 0


def _chosen(slides: str | None, known: Sequence[str]) -> list[str]:
    if slides is None:
        return sorted(known)
    chosen = sorted({part.strip() for part in slides.split(",") if part.strip()})
    unknown = [slide_id for slide_id in chosen if slide_id not in set(known)]
    if unknown or not chosen:
        raise StudyError(f"--slides: no slide {', '.join(unknown) or 'given'}; the clinical table has {len(known)}")
    return chosen


def _fit(study: Study, slide_id: str) -> "StainFit":
    from preprocessing.tiling.tile_store import read_tile_sheet

    path = study.tile_file(slide_id)
    if not path.is_file():
        raise StudyError(
            f"{slide_id} has no tile file; run preprocessing/tile_slides.py, or leave the slide out by --where or --slides"
        )
    try:
        return read_tile_sheet(path).stain
    except ValueError as error:
        raise StudyError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
