"""What is of all explained patients together: the verdict on their maps."""

import numpy as np
import pytest

from mil.explanation.explained import MapTest
from mil.explanation.explained_run import _judged
from mil.explanation.flipping import SHARES, BagFaithfulness, Curves


def map_test(value, *, likeness=None, miss=0.0):
    flat = np.linspace(value, 0, len(SHARES))
    curves = {name: Curves(most_first=flat, least_first=flat) for name in ("contributions", "attention", "random")}
    both = np.array([value, 0.0])
    flipped = BagFaithfulness(curves=curves, whole=both, top_alone=both, without_top=both, told=0)
    return MapTest(flipped=flipped, likeness=likeness, miss=miss, value=value)


def test_what_contributions_miss_is_told_beside_the_spread_of_outputs_about_their_base():
    """Outputs 3 and -4 above their bases spread by sqrt((9 + 16) / 2); 0.5 of the second is missed, 0.1 of the first."""
    found = _judged([map_test(3.0, miss=0.1, likeness=0.2), map_test(-4.0, miss=0.5, likeness=0.6)])
    assert found.n_patients == 2
    assert found.most_residual == pytest.approx(0.5 / np.sqrt(12.5))
    assert found.untrained_likeness == pytest.approx(0.4)


def test_maps_without_a_likeness_are_left_out_of_it_and_all_outputs_at_their_base_divide_by_no_0():
    found = _judged([map_test(1.0), map_test(2.0, likeness=0.3)])
    assert found.untrained_likeness == pytest.approx(0.3)
    assert _judged([map_test(1.0)]).untrained_likeness is None
    flat = _judged([map_test(0.0, miss=0.0), map_test(0.0, miss=1e-9)])
    assert flat.most_residual == pytest.approx(1.0)
