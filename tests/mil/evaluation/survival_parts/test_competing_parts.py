"""Cumulative incidence of a run's risk groups against lifelines and against 1 less Kaplan-Meier."""

from dataclasses import replace

import numpy as np
import pytest
from lifelines import AalenJohansenFitter
from pytest import approx

from mil.evaluation.survival_parts.competing_parts import incidence_of
from tests.helpers.survival_runs import subtype_alone_run


def test_incidences_of_both_groups_equal_lifelines_and_kaplan_meier_says_more(tmp_path):
    run = subtype_alone_run(tmp_path)
    rng = np.random.default_rng(3)
    other = np.where(run.predictions["event"] == 1, 0, rng.integers(0, 2, 240))
    run = replace(run, patients=run.patients.assign(competing_event=other))
    is_high = run.predictions["score"].to_numpy() > 1
    found = incidence_of(run, is_high.astype(int), ["low risk", "high risk"])
    assert len(found) == 6
    kind = np.where(run.predictions["event"] == 1, 1, 2 * other)
    for own in found:
        part = is_high if own.group == "high risk" else ~is_high
        theirs = AalenJohansenFitter().fit(run.predictions["time"][part], kind[part], event_of_interest=1)
        curve = theirs.cumulative_density_.iloc[:, 0]
        assert own.own == approx(curve[curve.index <= own.time].iloc[-1], abs=1e-8)
        assert own.low <= own.own <= own.high
        assert own.kaplan_meier >= own.own - 1e-12
        assert 0 <= own.competing <= 1 - own.own
    assert found[-1].own > found[2].own


def test_without_competing_events_there_are_none(tmp_path):
    assert incidence_of(subtype_alone_run(tmp_path), np.arange(240) % 2, ["low risk", "high risk"]) == ()


@pytest.mark.parametrize("words", ["Competing risks", "1 - Kaplan-Meier"])
def test_the_report_has_a_section_of_it(tmp_path, words):
    from mil.evaluation.evaluation import metrics_of_run
    from mil.report.survival_sections import SurvivalReport
    from mil.tasks.registry import TASKS

    run = subtype_alone_run(tmp_path)
    run = replace(run, patients=run.patients.assign(competing_event=0))
    metrics = metrics_of_run(run, TASKS["survival"].evaluation, n_bootstrap=100, seed=0)
    sections = {section.title: section for section in SurvivalReport().own_sections(metrics, {})}
    section = sections["Competing risks"]
    assert words in (section.title, *section.body[0].head)
    assert all(own.competing == 0 and own.kaplan_meier == approx(own.own) for own in metrics.parts.incidence)
