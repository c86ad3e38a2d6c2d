"""One stain reference out of the fits of a study's slides, for other slides to be mapped to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.cohort import read_cohort
from common.failures import StudyError
from common.study import Study, open_study
from preprocessing.colour.stain import StainFit
from preprocessing.colour.stain_store import aggregate, write_reference
from preprocessing.tiling.tile_store import read_slide_tiles
from preprocessing.tiling.tiling_settings import StainReferenceConfig

BUILT_IN = ("reference", "none")  # methods that say nothing of a slide's own stains


@dataclass(frozen=True, kw_only=True)
class StainReference:
    """A reference, where it was written, the method of each slide's fit in it, and the slides without one of their own."""

    path: Path
    fit: StainFit
    methods: Mapping[str, str]
    left_out: Sequence[str]


def aggregate_stains(study: Path | Study, config: StainReferenceConfig) -> StainReference:
    """Read the fits of the chosen slides, aggregate them and write the reference.

    Raises:
        StudyError: a slide is unknown or not tiled, or none has a fit of its own.
    """
    study = open_study(study)
    known = [row["slide_id"] for row in read_cohort(study.cohort_table, where=config.where).rows]
    fits = {slide_id: _fit(study, slide_id) for slide_id in _chosen(config.slides, known)}
    try:
        fit = aggregate(list(fits.values()))
    except ValueError as error:
        raise StudyError(f"{study.tiles}: {error}; look at the column stain_fallback of status.csv") from error
    reference = StainReference(
        path=study.root / "stain_references" / f"{config.name}.json", fit=fit,
        methods={slide_id: own.method for slide_id, own in fits.items() if own.method not in BUILT_IN},
        left_out=[slide_id for slide_id, own in fits.items() if own.method in BUILT_IN],
    )  # fmt: skip
    made_of = {"slides": reference.methods, "left_out": reference.left_out}
    write_reference(reference.path, reference.fit, name=config.name, made_of=made_of)
    return reference


def _chosen(slides: str | None, known: Sequence[str]) -> list[str]:
    if slides is None:
        return sorted(known)
    chosen = sorted({part.strip() for part in slides.split(",") if part.strip()})
    unknown = [slide_id for slide_id in chosen if slide_id not in set(known)]
    if unknown or not chosen:
        raise StudyError(f"--slides: no slide {', '.join(unknown) or 'given'}; the clinical table has {len(known)}")
    return chosen


def _fit(study: Study, slide_id: str) -> StainFit:
    path = study.tile_file(slide_id)
    if not path.is_file():
        raise StudyError(
            f"{slide_id} has no tile file; run preprocessing/tile_slides.py, or leave the slide out by --where or --slides"
        )
    try:
        return read_slide_tiles(path).stain
    except ValueError as error:
        raise StudyError(str(error)) from error
