"""What is told of a patient that was explained; the tiles stand in the files of its slides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from common.failures import SlideStatus
from mil.explanation.flipping import BagFaithfulness
from mil.explanation.sheet_tiles import Furthest


@dataclass(frozen=True, kw_only=True)
class ExplainedPatient:
    """An explained patient: what is told, its outputs taken apart by slide, and whose heads were asked."""

    patient_id: str
    told: str  # the output that maps are of
    told_at: int  # its place
    names: tuple[str, ...]  # of the outputs
    values: Float64[np.ndarray, " out"]
    base: Float64[np.ndarray, " out"]
    residual: Float64[np.ndarray, " out"]
    of_slides: Float64[np.ndarray, "slide out"]
    n_tiles: tuple[int, ...]
    slide_ids: tuple[str, ...]
    level: float
    heads: tuple[str, ...]
    methods: tuple[str, ...]
    is_trained_on: bool


@dataclass(frozen=True, kw_only=True)
class MapTest:
    """What one patient's map shows of whether maps can be believed."""

    flipped: BagFaithfulness
    likeness: float | None  # rank correlation with the map of untrained heads
    miss: float  # what contributions miss of the told output
    value: float  # of the told output above its base


@dataclass(frozen=True, kw_only=True)
class PatientMade:
    """All that came of one patient, but for its files."""

    own: ExplainedPatient
    test: MapTest | None  # None: not asked for
    furthest: Furthest
    exports: Mapping[str, Mapping[str, Path]]  # by slide and kind
    failed: tuple[SlideStatus, ...]  # slides without the maps that were wanted
