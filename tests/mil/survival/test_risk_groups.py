"""Cut-offs of risk groups out of training patients, the group of a patient, and what several heads agree on, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from mil.survival.risk_groups import agreed_groups, cut_offs, group_names, group_of, n_groups

RISK = np.arange(9.0)


def test_cut_offs_are_quantiles_of_training_patients_or_given_in_their_standard_deviations():
    assert cut_offs(RISK, "median") == (4.0,)
    assert cut_offs(RISK, "tertiles") == approx((8 / 3, 16 / 3))
    assert cut_offs(RISK, "quartiles") == approx((2.0, 4.0, 6.0))
    sd = np.sqrt(60 / 9)
    assert cut_offs(RISK, "-0.5,1") == approx((4 - 0.5 * sd, 4 + sd))


def test_there_is_a_group_more_than_cut_offs_and_each_has_a_name():
    for wanted, n in (("median", 2), ("tertiles", 3), ("quartiles", 4), ("0", 2), ("-1,0,1,2", 5)):
        assert n_groups(wanted) == n == 1 + len(cut_offs(RISK, wanted)) == len(set(group_names(n)))
    assert group_names(2) == ("low risk", "high risk")
    assert group_names(3) == ("low risk", "middle risk", "high risk")
    assert group_names(5)[1:4] == ("risk group 2 of 5", "risk group 3 of 5", "risk group 4 of 5")


def test_who_is_at_a_cut_off_is_in_the_lower_group():
    assert [group_of(risk, (2.0, 4.0)) for risk in (-9.0, 2.0, 2.1, 4.0, 4.1)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("wrong", ["thirds", "1,0.5", "", "nan", "1,1", "inf", ",".join(map(str, range(9)))])
def test_other_ways_to_part_patients_are_refused(wrong):
    for call in (lambda: n_groups(wrong), lambda: cut_offs(RISK, wrong)):
        with pytest.raises(ValueError, match="--risk_groups is median, tertiles, quartiles, or 1 to 8 rising scores"):
            call()


def test_half_way_between_two_groups_the_score_decides():
    assert agreed_groups(np.array([0.5, 0.5, 1.5, 1.4, 1.6, 2.0]), np.array([0.1, 0.0, -1.0, 9.0, -9.0, 0.0])).tolist() == [
        1, 0, 1, 1, 2, 2,
    ]  # fmt: skip


@given(
    st.lists(st.floats(-5, 5), min_size=4, max_size=40), st.sampled_from(["median", "tertiles", "quartiles", "-1,1"])
)
def test_groups_rise_with_the_risk(values, wanted):
    risk = np.sort(np.array(values))
    groups = [group_of(value, cut_offs(risk, wanted)) for value in risk]
    assert groups == sorted(groups)
    assert max(groups) < n_groups(wanted)
