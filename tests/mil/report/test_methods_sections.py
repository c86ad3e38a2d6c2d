"""Cohort and methods in the report: who left where, how folds were trained, who chose each setting, what to type again."""

from dataclasses import replace

import pytest

from mil.evaluation.metrics_record import NotEvaluated
from mil.report.blocks import Code, Flow, Folded, Heading, Illustration, Paragraph, Table
from mil.report.methods_sections import (
    audit_section,
    cohort_section,
    folds_section,
    limits_section,
    methods_section,
    repeat_section,
)
from mil.runs.audit_record import Audit, Check, CheckTable
from mil.runs.facts import CohortFlow, CovariateFacts
from tests.helpers.run_folders import FACTS, FOLDS

NOTHING = NotEvaluated(task="subtype")


def of_kind(section, kind):
    return [block for block in section.body if isinstance(block, kind)]


def words_of(table):
    return [[cell.words for cell in row] for row in table.rows]


def steps(facts, metrics=NOTHING):
    (flow,) = of_kind(cohort_section(facts, metrics, []), Flow)
    return list(flow.steps)


def test_the_flow_says_who_left_where():
    assert steps(FACTS) == [
        ("", "clinical table: 41 patients, 61 slides"), ("lost", "1 slide lost in tiling"),
        ("lost", "1 patient left out: no subtype"), ("", "in the analysis: 40 patients, 60 slides, 4000 tiles"),
    ]  # fmt: skip
    flow = CohortFlow(
        table_patients=50, table_slides=71, kept_patients=41, kept_slides=61, slides_lost={"tiling": 2, "embedding": 1},
        patients_lost={"no subtype": 3},
    )  # fmt: skip
    chosen = replace(FACTS, flow=flow, settings={"where": "age > 3"}, n_images=7)
    assert steps(chosen) == [
        ("", "clinical table: 50 patients, 71 bags"), ("lost", "9 patients, 10 bags not chosen: age > 3"),
        ("lost", "2 bags lost in tiling"), ("lost", "1 bag lost in embedding"), ("lost", "3 patients left out: no subtype"),
        ("", "in the analysis: 40 patients, 60 bags, 7 images, 4000 fields"),
    ]  # fmt: skip
    slides = replace(FACTS, patient_of={"a": "p", "b": "p", "c": "q"})
    assert steps(slides)[-1] == ("", "in the analysis: 2 patients, 60 slides, 4000 tiles")
    assert ("lost", "1 slide left out: no subtype") in steps(slides)


def test_the_cohort_has_tables_of_what_it_lost_and_what_it_holds():
    section = cohort_section(replace(FACTS, class_counts={"A": 3}), NOTHING, [["events", 5]])
    left, lost, holds = of_kind(section, Table)
    assert (left.head, words_of(left)) == (("patient left out", "reason"), [["<b>x</b>", "no subtype"]])
    assert (lost.head, words_of(lost)) == (("slide", "lost in", "reason"), [["s1", "tiling", "no tissue"]])
    assert words_of(holds) == [["subtype A", "3"], ["events", "5"], ["slides", "60"], ["tiles", "4000"]]
    assert [block.words for block in of_kind(section, Heading)] == ["Slides without features", "In the analysis"]
    nobody = cohort_section(replace(FACTS, excluded=(), slide_losses=(), n_images=2), NOTHING, [])
    (holds,) = of_kind(nobody, Table)
    assert words_of(holds) == [["bags", "60"], ["images", "2"], ["fields", "4000"]]


def folds_of(*, n_val=(4, 4), n_epochs=(2, 2), n_inner=(0, 0)):
    return tuple(
        replace(fold, n_val=val, n_epochs=epochs, n_inner_folds=inner)
        for fold, val, epochs, inner in zip(FOLDS, n_val, n_epochs, n_inner, strict=True)
    )


@pytest.mark.parametrize(
    ("folds", "said", "unsaid"),
    [
        (
            folds_of(),
            ["later half of the schedule. What", "comes from the inner validation part;"],
            ["there was no inner"],
        ),
        (folds_of(n_val=(4, 0)), ["schedule, in 1 folds; the others ran", "comes from the inner validation part;"], []),
        (
            folds_of(n_val=(0, 0), n_epochs=(9, 5)),
            [
                "trained for 5 or 9 epochs, a length fixed beforehand",
                "is left out (too few training patients for inner folds)",
            ],
            ["The epoch kept"],
        ),
        (
            folds_of(n_val=(0, 0), n_inner=(3, 2)),
            ["comes from 2 or 3 inner models a fold"],
            ["--cross_fit 0", "too few"],
        ),
        (
            folds_of(n_val=(0, 0), n_inner=(3, 0)),
            ["comes from 3 inner models a fold", "1 folds have too few training patients for it: there it is left out"],
            [],
        ),
        ((), ["Every head was trained, a length"], [" for  epochs"]),
    ],
)
def test_folds_say_how_their_epoch_was_kept_and_who_was_held_out(folds, said, unsaid):
    section = folds_section(replace(FACTS, folds=folds), {"training": "<svg/>"})
    (words,) = [block.words for block in of_kind(section, Paragraph)]
    assert all(part in words for part in said)
    assert not any(part in words for part in unsaid)
    assert words.startswith("Splits “default”: 1 repeat of 2 folds, by patient.")
    (caption,) = [block.caption for block in of_kind(section, Illustration)]
    assert ("inner validation part (dashed)" in caption) == any(fold.n_val for fold in folds)
    (table,) = of_kind(section, Table)
    assert len(table.rows) == len(folds)
    if folds:
        assert words_of(table)[1][:5] == ["0", "1", "16", str(folds[1].n_val), "20"]
    assert ("Numbers below are of slides." in words) is False
    asked = folds_section(replace(FACTS, folds=folds_of(n_val=(0, 0)), settings={"cross_fit": 0}), {})
    assert "is left out (--cross_fit 0)" in of_kind(asked, Paragraph)[0].words
    slides = folds_section(replace(FACTS, folds=folds, patient_of={"a": "p"}), {})
    assert "Numbers below are of slides." in of_kind(slides, Paragraph)[0].words


def test_an_audit_is_shown_with_the_tables_that_have_any():
    (words,) = of_kind(audit_section(None), Paragraph)
    assert "was not checked for this run" in words.words
    checks = (
        Check(name="a", verdict="ok", text="fine", table=None),
        Check(name="b", verdict="leak", text="bad", table=CheckTable(columns=("x",), rows=((1,),))),
    )
    section = audit_section(Audit(checks=checks))
    assert of_kind(section, Paragraph) == []
    (table,) = of_kind(section, Table)
    assert words_of(table) == [["ok", "a", "fine"], ["leak", "b", "bad"]]
    assert [row[0].kind for row in table.rows] == ["ok", "leak"]
    assert [folded.title for folded in of_kind(section, Folded)] == ["b"]


def settings_of(facts):
    (folded,) = of_kind(methods_section(facts), Folded)
    return {row[0]: row[1:] for row in words_of(folded.table)}


def test_each_setting_says_who_chose_it():
    facts = replace(
        FACTS, settings={"epochs": 3, "patience": 0, "hidden": 64, "dropout": 0.25, "new": 1, "where": "x"},
        defaults={"hidden": 128, "dropout": 0.25},
    )  # fmt: skip
    found = settings_of(facts)
    assert found["hidden"] == ["64", "set by the user"]
    assert found["dropout"] == ["0.25", "default, fixed beforehand"]
    assert found["new"] == ["1", "default, fixed beforehand"]
    assert found["where"] == ["x", "named by the user before training"]
    assert found["epochs"][1] == "most epochs; the epoch kept was chosen on the inner validation part"
    alone = settings_of(replace(facts, folds=folds_of(n_val=(0, 0))))
    assert alone["epochs"][1] == "fixed beforehand: all were run"
    assert alone["patience"][1] == "fixed beforehand: no inner part chose an epoch"
    assert settings_of(replace(facts, folds=folds_of(n_val=(0, 4))))["patience"][1].endswith(
        "on the inner validation part"
    )


def test_encoder_and_covariates_stand_as_they_are_and_images_have_no_scale():
    encoder = {"licence": "MIT", "other": 1, "encoder": "e", "tile_um": 0.0, "tile_px": 224}
    facts = replace(
        FACTS, encoder=encoder, covariates=CovariateFacts(used=("age", "sex"), left_out={"os": "why", "b": "c"})
    )
    (table,) = of_kind(methods_section(facts), Table)
    assert words_of(table) == [["encoder", "e"], ["licence", "MIT"], ["tile_um", "0.0"], ["tile_px", "224"]]
    assert (
        "Clinical baseline from: age, sex. Left out: os (why); b (c). Means"
        in of_kind(methods_section(facts), Paragraph)[1].words
    )
    (table,) = of_kind(methods_section(replace(facts, n_images=3)), Table)
    assert words_of(table)[2:] == [["scale", "not known"], ["field_px", "224"]]
    assert table.head[0] == "encoder and fields"
    assert "Clinical baseline from: none. Means" in of_kind(methods_section(FACTS), Paragraph)[1].words


@pytest.mark.parametrize("n_images", [0, 1])
def test_what_repeats_a_run_begins_with_tiling_unless_it_is_of_images(n_images):
    section = repeat_section(replace(FACTS, n_images=n_images))
    (code,) = of_kind(section, Code)
    lines = code.text.splitlines()
    assert ("preprocessing/tile_slides.py" in lines[0]) == (not n_images)
    assert (" --tiles key.csv" in code.text) == bool(n_images)
    assert lines[-2:] == [FACTS.command, "python mil/evaluate.py --task subtype --name default"]
    assert (
        f"first {'two' if n_images else 'three'} stand in the {'' if n_images else 'tile, '}feature"
        in section.body[1].words
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "(40 patients, 20 events)"),
        ({"n_events": 1}, "(40 patients, 1 event)"),
        ({"class_counts": {"A": 30, "B": 10}}, "(40 patients, 10 patients of the smallest subtype)"),
    ],
)
def test_limits_say_the_size_of_the_smallest_part(changes, words):
    first = limits_section(replace(FACTS, **changes)).body[0].words
    assert words in first
    assert "hospitals, scanners and stains" in first
    assert "ways to choose images" in limits_section(replace(FACTS, n_images=1)).body[0].words
