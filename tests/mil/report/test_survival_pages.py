"""The pages of a survival run say in words what its numbers mean, and draw what they show."""

from dataclasses import replace

import numpy as np
import pytest

from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.survival_parts.records import FurtherModel
from mil.metrics.bootstrap import Interval
from mil.report.blocks import Paragraph
from mil.report.survival_figures import draw_hazard_ratios, ratio_ticks
from mil.report.survival_pages.added_value_section import added_value_section
from mil.report.survival_pages.regression_sections import hazard_sections
from mil.report.verdict import verdict
from mil.tasks.registry import TASKS
from tests.helpers.survival_runs import subtype_alone_run


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    run = subtype_alone_run(tmp_path_factory.mktemp("run"))
    return metrics_of_run(run, TASKS["survival"].evaluation, n_bootstrap=200, seed=0)


def words(section):
    return " ".join(block.words for block in section.body if isinstance(block, Paragraph))


def test_a_risk_that_is_the_subtypes_alone_is_said_to_be(metrics):
    said = words(added_value_section(metrics, metrics.parts))
    assert "what it knows of survival may be the subtype alone" in said
    section = added_value_section(metrics, metrics.parts)
    assert "C-index inside one subtype" in section.body[0].head


def test_a_risk_that_holds_inside_subtypes_is_said_to_be_more(metrics):
    inside = replace(metrics.parts.inside_groups, c_index={"attention": Interval(0.7, 0.6, 0.8, "BCa")})
    said = words(added_value_section(metrics, replace(metrics.parts, inside_groups=inside)))
    assert "it tells more than the subtype" in said


@pytest.mark.parametrize(("low", "is_more"), [(0.01, True), (-0.01, False)])
def test_what_slides_add_to_the_clinic_is_a_verdict_on_the_paired_difference(metrics, low, is_more):
    named = {"c_index": Interval(0.05, low, 0.1, "BCa")}
    joint = FurtherModel(figures=metrics.attention, differences={"clinical": named})
    said = words(added_value_section(metrics, replace(metrics.parts, models={"joint": joint})))
    assert ("so the slides add to the clinic" in said) == is_more
    assert ("so the slides are not shown to add to the clinic" in said) != is_more


def test_hazard_ratios_are_drawn_and_few_events_an_input_are_named(metrics):
    picture = draw_hazard_ratios(metrics.parts.adjusted)
    assert [row[0] for row in picture.rows] == ["image score, a standard deviation", "age, a standard deviation"]
    assert [text.get_text() for text in picture.figure.axes[0].get_yticklabels()] == [
        "age, a standard deviation", "image score, a standard deviation",
    ]  # fmt: skip
    few = replace(metrics.parts, adjusted=replace(metrics.parts.adjusted, events_per_input=4.0))
    assert "4.0 for each input: under 10, so that the ratios" in words(hazard_sections(few, {})[0])
    assert "under 10" not in words(hazard_sections(metrics.parts, {})[0])


@pytest.mark.parametrize(("low", "high"), [(0.8, 1.3), (0.1, 9.0), (1e-3, 400.0), (1.2, 1.3)])
def test_ticks_of_ratios_are_round_few_and_hold_1(low, high):
    ticks = ratio_ticks(low, high)
    assert 1.0 in ticks
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= max(low, 0.5) and ticks[-1] >= min(high, 2.0) / 2.5
    assert np.allclose([float(f"{tick:.0e}") for tick in ticks], ticks)


def test_few_events_are_said_to_be_few(metrics):
    few = replace(metrics, n_events=20)
    own = few.attention["c_index"]
    assert f"20 events are few: the 95 % interval of the C-index is {own.high - own.low:.2f} wide" in verdict(few)
    assert "are few" not in verdict(metrics)
