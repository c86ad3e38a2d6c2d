"""Densities in bytes: compared with densities as fractions are."""

import numpy as np
import pytest

from preprocessing.tissue.density_bytes import OD_STEP, above, below, up_to


@pytest.mark.parametrize("density", [0.0, 0.01, 0.03, 0.05, 0.058, 0.06, 0.16, 0.35, 0.6, 0.8, 0.999, 2.54])
def test_bytes_are_compared_as_the_fractions_they_stand_for(density):
    plane = np.arange(256, dtype=np.uint8).reshape(16, 16)
    limit = density / OD_STEP
    assert (above(plane, density) == (plane.astype(float) > limit)).all()
    assert (up_to(plane, density) == (plane.astype(float) <= limit)).all()
    assert (below(plane, density) == (plane.astype(float) < limit)).all()
