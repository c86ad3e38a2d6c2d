"""What is told of a patient that was explained; the tiles stand in the files of its slides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mil.explanation.contributions import Contributions


@dataclass(frozen=True, kw_only=True)
class ExplainedPatient:
    """An explained patient: what is told, contributions by slide, and whose heads were asked."""

    patient_id: str
    told: str
    parts: Contributions
    of_slides: Float64[np.ndarray, "slide out"]
    n_tiles: tuple[int, ...]
    slide_ids: tuple[str, ...]
    level: float
    heads: tuple[str, ...]
    is_trained_on: bool
