"""Cumulative incidence of a run's risk groups against lifelines and against 1 less Kaplan-Meier."""

from dataclasses import replace

import numpy as np
import pytest
from lifelines import AalenJohansenFitter, KaplanMeierFitter
from pytest import approx

from mil.evaluation.survival_parts.competing_parts import incidence_of, times_and_kinds
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
        others = AalenJohansenFitter().fit(run.predictions["time"][part], kind[part], event_of_interest=2)
        rest = others.cumulative_density_.iloc[:, 0]
        assert own.competing == approx(rest[rest.index <= own.time].iloc[-1], abs=1e-8)
        alone = KaplanMeierFitter().fit(run.predictions["time"][part], run.predictions["event"][part])
        assert own.kaplan_meier == approx(1 - alone.predict(own.time), abs=1e-8)
    times = np.quantile(run.predictions["time"][run.predictions["event"] == 1], [0.25, 0.5, 0.75])
    assert [own.time for own in found] == approx([*times, *times])
    assert [own.group for own in found] == ["low risk"] * 3 + ["high risk"] * 3
    assert found[-1].own > found[2].own


def test_without_competing_events_there_are_none(tmp_path):
    assert incidence_of(subtype_alone_run(tmp_path), np.arange(240) % 2, ["low risk", "high risk"]) == ()
    run = subtype_alone_run(tmp_path)
    run = replace(run, patients=run.patients.assign(competing_event=1), predictions=run.predictions.assign(event=0))
    assert incidence_of(run, np.arange(240) % 2, ["low risk", "high risk"]) == ()  # nobody had the end point


def test_a_group_without_patients_and_unknown_competing_events_are_left_out(tmp_path):
    run = subtype_alone_run(tmp_path)
    run = replace(run, patients=run.patients.iloc[:200].assign(competing_event=["", "1"] * 100))
    time, kind = times_and_kinds(run)
    events = run.predictions["event"].to_numpy()
    assert np.array_equal(time, run.predictions["time"])
    assert kind.tolist() == [1 if events[k] else 2 * (k % 2) if k < 200 else 0 for k in range(240)]
    found = incidence_of(run, np.ones(240, int), ["low risk", "high risk"])
    assert [own.group for own in found] == ["high risk"] * 3


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
