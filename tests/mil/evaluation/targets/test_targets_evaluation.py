"""Targets of one's own judged: who has each, metrics against scikit-learn, chance, what figures rest on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)

from common.tables.target_columns import CLASSES, NUMBER, ORDERED, Target
from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.targets.judged_targets import judged, skill
from mil.evaluation.targets.targets_evaluation import TargetsEvaluation
from mil.evaluation.targets.targets_metrics import NumberMetrics, OrderedMetrics, SeveralMetrics
from mil.metrics.classification import once
from mil.metrics.support import MIN_EVENTS, MIN_PATIENTS
from mil.runs.targets_record import Targets, columns_of
from tests.helpers.run_folders import FACTS, run_of

KIND = Target(column="kind", kind=CLASSES, classes=("x", "y", "z"))
GRADE = Target(column="grade", kind=ORDERED, classes=("1", "2", "3"))
AGE = Target(column="age", kind=NUMBER)
ALL = (KIND, GRADE, AGE)
N = 36


def table_of(targets=ALL, seed=0, n=N):
    """Predictions of some skill; the first patient lacks its kind, the second its age, the last three their grade."""
    rng, columns = np.random.default_rng(seed), {}
    kind, grade = np.arange(n) % 3, np.arange(n) // 2 % 3
    for own, labels in ((KIND, kind), (GRADE, grade)):
        p = np.exp(rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels])
        columns |= {
            f"{own.column}.p_{name}": (p / p.sum(axis=1, keepdims=True))[:, k] for k, name in enumerate(own.classes)
        }
        columns[f"{own.column}.truth"] = np.array(own.classes, object)[labels]
    age = rng.normal(60, 9, n)
    columns |= {"age.observed": age, "age.predicted": age + rng.normal(0, 6, n)}
    table = pd.DataFrame(
        {"repeat": 0, "fold": np.arange(n) % 2, "patient_id": [f"p{k:02d}" for k in range(n)], **columns}
    )
    table.loc[0, "kind.truth"], table.loc[1, "age.observed"] = None, np.nan
    table.loc[n - 3 :, "grade.truth"] = None
    if len(targets) == 1:
        (only,) = targets
        return table.rename(columns=lambda name: name.removeprefix(f"{only.column}."))
    return table


def run_with(targets=ALL, table=None, prior=None):
    table = table_of(targets) if table is None else table
    rows = [table.assign(model="attention"), *([] if prior is None else [prior.assign(model="prior")])]
    known = Targets(task="own", targets=targets)
    run = run_of(Path("run"), pd.concat(rows, ignore_index=True), facts=replace(FACTS, task="own"))
    return replace(run, targets=known), TargetsEvaluation(known=known)


def each_of(table, targets=ALL):
    return judged(table, columns_of(targets))


def test_a_target_is_judged_by_the_patients_who_have_it():
    kind, grade, age = each_of(table_of())
    assert kind.places.tolist() == list(range(1, N))
    assert grade.places.tolist() == list(range(N - 3))
    assert age.places.tolist() == [0, *range(2, N)]
    assert kind.class_counts.tolist() == [11, 12, 12]
    assert grade.class_counts.tolist() == [12, 11, 10]
    assert age.class_counts.tolist() == []
    assert (age.confusion, kind.named("accuracy"), age.named("r2")) == (None, "kind: accuracy", "age: r2")
    (alone,) = each_of(table_of((AGE,)), (AGE,))
    assert alone.named("r2") == "r2"


def test_metrics_are_scikit_learns():
    table = table_of()
    kind, grade, age = each_of(table)
    own = {
        target.kind: {k: float(v[0]) for k, v in target.metrics(once(len(target.truth))).items()}
        for target in (kind, grade, age)
    }
    p, labels = table.loc[1:, ["kind.p_x", "kind.p_y", "kind.p_z"]].to_numpy(), kind.labels
    assert own[CLASSES]["macro_auroc"] == approx(roc_auc_score(labels, p, multi_class="ovr"))
    assert own[CLASSES]["balanced_accuracy"] == approx(balanced_accuracy_score(labels, p.argmax(axis=1)))
    assert kind.confusion.tolist() == confusion_matrix(labels, p.argmax(axis=1)).tolist()
    p, labels = table.loc[: N - 4, ["grade.p_1", "grade.p_2", "grade.p_3"]].to_numpy(), grade.labels
    middle = (p.cumsum(axis=1) < 0.5).sum(axis=1)  # the median class, not the likeliest
    assert (middle != p.argmax(axis=1)).any()
    assert grade.confusion.tolist() == confusion_matrix(labels, middle).tolist()
    assert own[ORDERED]["quadratic_kappa"] == approx(cohen_kappa_score(labels, middle, weights="quadratic"))
    known = table[table["age.observed"].notna()]
    assert own[NUMBER]["r2"] == approx(r2_score(known["age.observed"], known["age.predicted"]))
    assert own[NUMBER]["mae"] == approx(mean_absolute_error(known["age.observed"], known["age.predicted"]))
    nobody = each_of(table.assign(**{"age.observed": np.nan}))[2]
    assert {k: v.tolist() for k, v in nobody.metrics(np.ones((0, 2))).items()}.keys() == own[NUMBER].keys()
    assert all(np.isnan(v).all() and v.shape == (2,) for v in nobody.metrics(np.ones((0, 2))).values())


def test_skill_is_0_by_chance_and_1_where_perfect():
    kind, grade, age = each_of(table_of())
    for value, wanted in ((0.5, (0 + 0.5 + 0.5) / 3), (1.0, 1.0), (0.0, -1 / 3)):
        at = np.array([value])
        assert skill([(kind, at), (grade, at), (age, at)]) == approx([wanted])


def test_chance_knows_the_commonest_class_and_what_training_patients_tell():
    table = table_of()
    prior = table.assign(**{"age.predicted": 61.0, "grade.p_1": 0.2, "grade.p_2": 0.5, "grade.p_3": 0.3})
    run, evaluation = run_with(table=table, prior=prior)
    found = evaluation.chance(run)
    assert found["skill"] == 0.0
    assert (found["kind: macro_auroc"], found["kind: accuracy"]) == (0.5, approx(12 / 35))
    assert found["kind: balanced_accuracy"] == approx(1 / 3)
    assert (found["grade: threshold_auroc"], found["grade: quadratic_kappa"], found["grade: accuracy"]) == (
        0.5,
        0,
        approx(12 / 33),
    )
    labels = each_of(table)[1].labels
    assert found["grade: step_error"] == approx(np.abs(labels - 1).mean())
    assert found["age: mae"] == approx(np.nanmean(np.abs(table["age.observed"] - 61)))
    assert (found["age: r2"], found["age: pearson"], found["age: spearman"]) == (0.0, 0.0, 0.0)
    assert "age: slope" not in found and "grade: balanced_accuracy" not in found and "age: accuracy" not in found
    run, evaluation = run_with()
    assert "age: mae" not in evaluation.chance(run)
    two = table_of().replace({"kind.truth": {"z": "y"}})
    run, evaluation = run_with(table=two)
    assert evaluation.chance(run)["kind: balanced_accuracy"] == 0.5
    run, evaluation = run_with((AGE,))
    assert set(evaluation.chance(run)) == {"r2", "pearson", "spearman"}


def some_grades(counts):
    n = sum(counts)
    table = table_of((GRADE,), n=max(n, 4)).head(n)
    return each_of(table.assign(truth=np.repeat(["1", "2", "3"], counts)), (GRADE,))[0].support()


def test_what_a_figure_rests_on_turns_at_its_bounds():
    few = MIN_EVENTS
    enough = some_grades([few, MIN_PATIENTS, few])
    assert {name: own.is_enough for name, own in enough.items()} == {
        "quadratic_kappa": True, "step_error": True, "threshold_auroc": True, "accuracy": True, "rps": True, "above:0": True,
        "above:1": True,
    }  # fmt: skip
    low, high = some_grades([few - 1, MIN_PATIENTS, few]), some_grades([few, MIN_PATIENTS, few - 1])
    assert (low["above:0"].is_enough, low["above:1"].is_enough, low["threshold_auroc"].is_enough) == (False, True, True)
    assert (high["above:0"].is_enough, high["above:1"].is_enough) == (True, False)
    both = some_grades([few - 1, MIN_PATIENTS, few - 1])
    assert not both["quadratic_kappa"].is_enough and both["accuracy"].is_enough
    half = MIN_PATIENTS // 2
    assert some_grades([half, 0, MIN_PATIENTS - half])["above:0"].is_enough == (half >= few)
    assert not any(own.is_enough for own in some_grades([half, 0, MIN_PATIENTS - half - 1]).values())
    for n in (MIN_PATIENTS - 1, MIN_PATIENTS):
        (age,) = each_of(table_of((AGE,)).assign(observed=[*range(n), *[np.nan] * (N - n)]), (AGE,))
        assert {own.is_enough for own in age.support().values()} == {n == MIN_PATIENTS}
    kind = each_of(table_of())[0].support()
    assert kind["macro_auroc"].is_enough and "auroc:2" in kind
    nobody = each_of(table_of().assign(**{"kind.truth": None}))[0].support()
    assert not any(own.is_enough for own in nobody.values())


def test_notes_name_who_is_missing_and_small_classes():
    run, evaluation = run_with()
    notes = evaluation.notes(run)
    assert [note for note in notes if "have no" in note] == [
        "1 test patient(s) have no kind: its metrics are of the others",
        "3 test patient(s) have no grade: its metrics are of the others",
        "1 test patient(s) have no age: its metrics are of the others",
    ]  # fmt: skip
    assert not any(note.startswith("under") for note in notes)
    for n in (MIN_EVENTS, MIN_EVENTS - 1):
        table = table_of((GRADE,)).assign(truth=["1"] * n + ["2"] * (N - n))
        run, evaluation = run_with((GRADE,), table)
        small = f"1 ({n}), 3 (0)" if n < MIN_EVENTS else "3 (0)"
        assert evaluation.notes(run) == (f"under {MIN_EVENTS} test patients of {small} (grade)",)


@pytest.mark.parametrize(
    ("targets", "kind", "first"),
    [(ALL, SeveralMetrics, "skill"), ((GRADE,), OrderedMetrics, "quadratic_kappa"), ((AGE,), NumberMetrics, "r2")],
)
def test_a_runs_metrics_are_of_each_target(targets, kind, first):
    run, evaluation = run_with(targets)
    found = metrics_of_run(run, evaluation, n_bootstrap=50, seed=0)
    assert type(found) is kind is evaluation.metrics_kind
    assert evaluation.named[0] == first == kind.main
    assert set(found.attention) == set(evaluation.named)
    parts = {target.column: own for target, own in zip(targets, each_of(table_of(targets), targets), strict=True)}
    for name, own in found.targets.items():
        judged_ = parts[name]
        assert (own.n, own.n_missing) == (len(judged_.truth), N - len(judged_.truth))
        assert list(own.class_counts.values()) == judged_.class_counts.tolist()
        if name == "age":
            assert (own.mean, own.sd) == approx((judged_.truth.mean(), judged_.truth.std()))
            assert own.ranked == {} and own.confusion is None
        else:
            assert (own.mean, own.sd) == (None, None)
            assert own.confusion.counts == tuple(map(tuple, judged_.confusion.tolist()))
    if targets == ALL:
        ranked = found.targets["kind"].ranked
        assert {name: own.n for name, own in ranked.items()} == {"x": 11, "y": 12, "z": 12}
        p = table_of().loc[1:, ["kind.p_x", "kind.p_y", "kind.p_z"]].to_numpy()
        for k, own in enumerate(ranked.values()):
            assert own.auroc.value == approx(roc_auc_score(parts["kind"].labels == k, p[:, k]))
        each = [own.metrics(once(len(own.truth))) for own in parts.values()]
        wanted = (2 * each[0]["macro_auroc"] - 1 + each[1]["quadratic_kappa"] + each[2]["r2"]) / 3
        assert found.attention["skill"].value == approx(float(wanted[0]))
        assert found.tested == "36 test patients (kind 35, grade 33, age 35)"
    if GRADE in targets:
        ranked = found.targets["grade"].ranked
        assert {name: own.n for name, own in ranked.items()} == {"1": 21, "2": 10}  # above the class
    else:
        assert found.tested == "36 test patients"
    assert ("on both sides" in found.needed) == (GRADE in targets)


def test_folds_have_their_own_figures_and_none_where_not_defined():
    run, evaluation = run_with()
    rows = run.predictions[run.predictions["fold"] == 1]
    found = evaluation.metrics_of_fold(run, (0, 1), rows)
    assert (found.repeat, found.fold, found.n) == (0, 1, N // 2)
    assert len(found.values) == 6  # two of each target
    known = rows[rows["age.observed"].notna()]
    assert found.values["age: r2"] == approx(r2_score(known["age.observed"], known["age.predicted"]))
    alike = evaluation.metrics_of_fold(run, (0, 1), rows.assign(**{"age.observed": 60.0}))
    assert alike.values["age: r2"] is None and alike.values["age: mae"] is not None


def test_a_group_needs_one_target_with_enough():
    run, evaluation = run_with((AGE,))
    for n in (MIN_PATIENTS, MIN_PATIENTS + 1):  # the second has no age
        found = evaluation.metrics_of_group(
            run, pd.Index([f"p{k:02d}" for k in range(n)]), 50, np.random.default_rng(0)
        )
        assert (found.metrics is None) == (n == MIN_PATIENTS) == found.why.startswith("too few")
    assert set(found.metrics) == {"r2"}
    run, evaluation = run_with()
    found = evaluation.metrics_of_group(run, pd.Index([f"p{k:02d}" for k in range(30)]), 50, np.random.default_rng(0))
    assert set(found.metrics) == {"kind: macro_auroc", "grade: quadratic_kappa", "age: r2"}


def test_patients_are_drawn_inside_classes_of_the_first_target_that_has_any():
    run, evaluation = run_with((AGE, KIND))
    plan = evaluation.resampling_plan(run, n_bootstrap=20, seed=0)
    strata = np.array([-1, *each_of(table_of())[0].labels])
    for label in (-1, 0, 1, 2):
        assert (plan.counts[strata == label].sum(axis=0) == (strata == label).sum()).all()
    run, evaluation = run_with((AGE,))
    has = table_of((AGE,))["observed"].notna().to_numpy()
    assert (evaluation.resampling_plan(run, n_bootstrap=20, seed=0).counts[has].sum(axis=0) == has.sum()).all()
