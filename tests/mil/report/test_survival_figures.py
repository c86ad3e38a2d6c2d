"""Pictures of a survival run: curves, numbers at risk and marks of the censored, from the patients of the table behind."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from pytest import approx

from mil.report.drawing import GREY
from mil.report.survival_figures import HIGH, LOW, draw_brier, draw_scores, draw_survival_curves, time_label
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from tests.helpers.run_folders import survival_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    survival_run(folder)
    return read_run(RunFolder(folder))


def own_of(run):
    return run.predictions[run.predictions["model"] == "attention"].sort_values("patient_id")


def axes_of(picture):
    (axes,) = picture.figure.axes
    return axes


def test_curves_of_low_and_high_risk_are_lifelines(run):
    picture, own = draw_survival_curves(run, 0.0421), own_of(run)
    table = pd.DataFrame(picture.rows, columns=list(picture.names))
    axes = axes_of(picture)
    for name, is_high, style in (("low risk", 0, LOW), ("high risk", 1, HIGH)):
        group = own[own["risk_group"] == is_high]
        found = table[table["group"] == name]
        fitter = KaplanMeierFitter().fit(group["time"], group["event"])
        wanted = fitter.survival_function_at_times(found["time"]).to_numpy()
        assert found["surviving"].to_numpy(float) == approx(wanted)
        assert found["at risk"].tolist() == [int((group["time"] >= time).sum()) for time in found["time"]]
        label = f"{name} (n {len(group)}, {int(group['event'].sum())} events)"
        assert label in picture.description
        (line,) = [line for line in axes.lines if line.get_label() == label]
        assert line.get_color() == style.colour
        assert line.get_xdata()[-1] == group["time"].max()
        assert line.get_ydata()[-1] == approx(wanted[-1])
        marks = [line for line in axes.lines if line.get_marker() == "|" and line.get_color() == style.colour]
        censored = group[group["event"] == 0]
        assert sorted(marks[0].get_xdata()) == approx(sorted(censored["time"]))
        at = dict(zip(marks[0].get_xdata(), marks[0].get_ydata(), strict=True))
        for time in censored["time"]:
            assert at[time] == approx(fitter.survival_function_at_times(time).iloc[0])
    assert axes.get_legend().get_title().get_text() == "log-rank p = 0.042"
    assert picture.description.endswith("; log-rank p = 0.042.")


@pytest.mark.parametrize(("p", "words"), [(None, ""), (0.0009, "log-rank p < 0.001"), (0.001, "log-rank p = 0.001")])
def test_the_log_rank_p_is_said_where_it_is_known(run, p, words):
    picture = draw_survival_curves(run, p)
    assert axes_of(picture).get_legend().get_title().get_text() == words
    assert picture.description.endswith(f"; {words}." if words else "events).")


def test_numbers_at_risk_stand_below_their_moments(run):
    picture, own = draw_survival_curves(run, None), own_of(run)
    notes = [(text.get_text(), text.xy[0], text.xyann) for text in axes_of(picture).texts]
    moments = [float(tick) for tick in axes_of(picture).get_xticks()]
    for row, (name, is_high) in enumerate((("low risk", 0), ("high risk", 1))):
        below = -52 - 15 * row
        group = own[own["risk_group"] == is_high]
        assert (name, 0.0, (-16, below)) in notes
        for moment in moments:
            assert (str(int((group["time"] >= moment).sum())), moment, (0, below)) in notes
    assert ("number at risk", 0.0, (-16, -36)) in notes
    end = own["time"].max()
    assert axes_of(picture).get_xlim() == approx((0, end * 1.02))
    assert axes_of(picture).get_ylim() == approx((0, 1.02))


def test_a_group_of_nobody_is_left_out(run):
    own = run.predictions.assign(risk_group=0, score=-1.0)
    changed = type(run)(**{name: getattr(run, name) for name in run.__dataclass_fields__} | {"predictions": own})
    picture = draw_survival_curves(changed, None)
    assert {row[0] for row in picture.rows} == {"low risk"}
    assert (0, -67) not in [text.xyann for text in axes_of(picture).texts]


def test_tertiles_are_three_curves_of_the_patients_of_each(run):
    own = own_of(run)
    group = np.arange(len(own)) % 3
    facts = replace(run.facts, settings={**run.facts.settings, "risk_groups": "tertiles"})
    changed = replace(run, facts=facts, predictions=own.assign(risk_group=group))
    picture = draw_survival_curves(changed, None)
    names = ("low risk", "middle risk", "high risk")
    assert list(dict.fromkeys(row[0] for row in picture.rows)) == list(names)
    labels = [text.get_text() for text in axes_of(picture).get_legend().get_texts()]
    for index, (name, label) in enumerate(zip(names, labels, strict=True)):
        events = int(own["event"][group == index].sum())
        assert label.startswith(f"{name} (n {(group == index).sum()}, {events} event")


def test_scores_are_dots_with_an_event_and_crosses_without(run):
    picture, own = draw_scores(run), own_of(run)
    events, censored = axes_of(picture).lines
    for line, is_event, marker, colour in ((events, 1, "o", HIGH.colour), (censored, 0, "x", GREY)):
        group = own[own["event"] == is_event]
        assert (line.get_marker(), line.get_color()) == (marker, colour)
        found = sorted(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert np.array(found) == approx(np.array(sorted(zip(group["score"], group["time"], strict=True))))
    assert [row[0] for row in picture.rows] == own["patient_id"].tolist()
    assert np.array([row[1:] for row in picture.rows]) == approx(own[["score", "time", "event"]].to_numpy(float))


@pytest.mark.parametrize(("most", "top"), [(0.1, 0.3), (0.4, 0.44)])
def test_brier_scores_fit_into_their_axes(most, top):
    rows = ((1.0, 0.05, 0.06), (2.0, 0.1, most))
    picture = draw_brier(rows, "months")
    axes = axes_of(picture)
    assert axes.get_ylim() == approx((0, top))
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.05, 0.1], [0.06, most]]
    assert (axes.get_xlabel(), picture.rows) == ("time (months)", rows)
    assert time_label("") == "time, as in the table"
