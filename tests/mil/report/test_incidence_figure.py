"""The picture of cumulative incidences shows what lifelines computes, and says who is at risk."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import AalenJohansenFitter
from pytest import approx

from mil.report.survival_pages.incidence_figure import draw_incidence
from mil.report.survival_sections import SurvivalReport
from tests.helpers.survival_runs import subtype_alone_run


@pytest.fixture
def run(tmp_path):
    own = subtype_alone_run(tmp_path)
    other = np.where(own.predictions["event"] == 1, 0, np.random.default_rng(3).integers(0, 2, 240))
    return replace(own, patients=own.patients.assign(competing_event=other))


def test_curves_of_every_group_and_event_are_those_of_lifelines(run):
    picture = draw_incidence(run)
    told = pd.DataFrame(picture.rows, columns=picture.names)
    table = run.predictions.set_index("patient_id")
    kind = np.where(
        table["event"] == 1, 1, 2 * run.patients.set_index("patient_id")["competing_event"].loc[table.index]
    )
    assert set(told["event"]) == {"end point", "other event"}
    assert len(set(told["group"])) == 2
    for place, name in enumerate(dict.fromkeys(told["group"])):
        part = (table["risk_group"] == place).to_numpy()
        assert part.any()
        for of, words in ((1, "end point"), (2, "other event")):
            curve = (
                AalenJohansenFitter()
                .fit(table["time"][part], kind[part], event_of_interest=of)
                .cumulative_density_.iloc[:, 0]
            )
            own = told[(told["group"] == name) & (told["event"] == words)]
            theirs = [curve[curve.index <= time].iloc[-1] for time in own["time"]]
            assert own["share"].to_numpy(float) == approx(theirs, abs=1e-8)
            assert own["time"].is_monotonic_increasing
            limited = own[own["low"] != ""]
            assert (limited["low"].astype(float) <= limited["share"]).all()
            assert (limited["share"] <= limited["high"].astype(float)).all()
        n_own, n_other = int((kind[part] == 1).sum()), int((kind[part] == 2).sum())
        assert f"{name} (n {part.sum()}, {n_own} events, {n_other} other)" in picture.description


def test_rows_below_say_how_many_are_at_risk_at_the_start(run):
    words = [text.get_text() for text in draw_incidence(run).figure.axes[0].texts]
    table = run.predictions
    assert {str(int((table["risk_group"] == place).sum())) for place in (0, 1)} <= set(words)
    assert "number at risk" in words


def test_it_is_drawn_where_competing_events_are_known_alone(run):
    from mil.evaluation.evaluation import metrics_of_run
    from mil.tasks.registry import TASKS

    metrics = metrics_of_run(run, TASKS["survival"].evaluation, n_bootstrap=100, seed=0)
    report = SurvivalReport()
    pictures = report.pictures(run, metrics)
    drawn = {name: f"<svg>drawn {name}</svg>" for name in pictures}
    (section,) = [own for own in report.own_sections(metrics, drawn) if own.title == "Competing risks"]
    assert "<svg>drawn cumulative_incidence</svg>" in repr(section)
    without = replace(run, patients=run.patients.drop(columns="competing_event"))
    assert draw_incidence(without) is None
    assert "cumulative_incidence" not in report.pictures(without, metrics)
