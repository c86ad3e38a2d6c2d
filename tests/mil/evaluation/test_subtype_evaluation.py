"""What a subtype run's evaluation takes from its inner validation part, fold by fold; chance; subgroups too small."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pytest import approx
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    roc_auc_score,
)

from mil.evaluation.clusters import patient_strata, plan_of_bags, widening_of
from mil.evaluation.evaluation import metrics_of_run
from mil.evaluation.metrics_record import NotEvaluated
from mil.evaluation.subtype_certainty import calibrated_predictions, selective_of, temperatures
from mil.evaluation.subtype_evaluation import chance_metrics, class_notes, delong_tests
from mil.metrics import conformal
from mil.metrics.bootstrap import plan_resampling
from mil.metrics.calibration import fit_temperature, n_bins_for, reliability, scale_temperature
from mil.metrics.delong import compare_aurocs
from mil.metrics.paired_tests import holm
from mil.runs.facts import CovariateFacts, ShareFacts
from mil.runs.figure_names import DISCRIMINATION
from mil.runs.run_folder import RunFolder
from mil.runs.run_store import read_run
from mil.tasks.registry import TASKS
from tests.helpers.run_folders import FACTS, FOLDS, run_of, write_facts

CLASSES = ["A", "B", "C"]
SUBTYPE = TASKS["subtype"].evaluation
COLUMNS = ["p_A", "p_B", "p_C"]


def rows_of(rng, fold, n, prefix, *, sharpness):
    labels = np.arange(n) % 3
    logits = sharpness * (rng.normal(size=(n, 3)) + 1.0 * np.eye(3)[labels])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = [f"{prefix}{fold}{index:03d}" for index in range(n)]
    frame = pd.DataFrame(p, columns=COLUMNS)
    return frame.assign(repeat=0, fold=fold, patient_id=names, model="attention", truth=[CLASSES[k] for k in labels])


@pytest.fixture
def run(tmp_path):
    """Two folds: the second's model is far too sure of itself."""
    rng = np.random.default_rng(0)
    tested = pd.concat([rows_of(rng, fold, 60, "p", sharpness=1 + 3 * fold) for fold in (0, 1)], ignore_index=True)
    held = pd.concat([rows_of(rng, fold, 45, "v", sharpness=1 + 3 * fold) for fold in (0, 1)], ignore_index=True)
    prior = tested.assign(model="prior")
    prior[COLUMNS] = np.where(tested[["fold"]] == 0, [0.5, 0.3, 0.2], [0.2, 0.5, 0.3])
    patients = tested[["patient_id"]].assign(
        site=["big"] * 112 + ["small"] * 8, age=np.arange(120.0), grade=["low", "high"] * 60
    )
    folds = tuple(replace(fold, covariate_medians={"age": 30.0 + 60 * fold.fold}) for fold in FOLDS)
    facts = replace(FACTS, classes=tuple(CLASSES), folds=folds)
    return run_of(
        tmp_path, pd.concat([tested, prior], ignore_index=True), facts=facts, validation=held, patients=patients
    )


def metrics_of(run):
    return metrics_of_run(run, TASKS["subtype"].evaluation, n_bootstrap=100, seed=0)


def test_each_fold_is_scaled_by_the_temperature_of_its_own_validation_part(run):
    fitted = temperatures(run)
    assert fitted[0, 0][0] < 1.6 < fitted[0, 1][0]
    expected = []
    for fold in (0, 1):
        held = run.validation[run.validation["fold"] == fold]
        own = run.predictions[(run.predictions["fold"] == fold) & (run.predictions["model"] == "attention")]
        temperature = fit_temperature(held[COLUMNS].to_numpy(), run.codes(held["truth"]))
        assert fitted[0, fold] == (approx(temperature), 45)
        expected.append(scale_temperature(own[COLUMNS].to_numpy(), temperature))
    assert calibrated_predictions(run)[COLUMNS].to_numpy() == approx(np.concatenate(expected), abs=1e-12)
    metrics = metrics_of(run)
    truth = run.predictions[run.predictions["model"] == "attention"]["truth"]
    scaled = log_loss(truth, np.concatenate(expected), labels=CLASSES)
    assert metrics.calibration.calibrated.log_loss.value == approx(scaled, abs=1e-12)
    assert scaled < metrics.attention["log_loss"].value


def test_sets_take_their_thresholds_from_their_own_fold(run):
    by_class = metrics_of(run).conformal.by_class
    covered, sizes = [], []
    for fold in (0, 1):
        held = run.validation[run.validation["fold"] == fold]
        own = run.predictions[(run.predictions["fold"] == fold) & (run.predictions["model"] == "attention")]
        truth, labels = run.codes(own["truth"]), run.codes(held["truth"])
        for patient, label in zip(own[COLUMNS].to_numpy(), truth, strict=True):
            kept = []
            for k in range(3):
                scores = np.sort(1 - held[COLUMNS].to_numpy()[labels == k, k])
                kept.append(1 - patient[k] <= scores[14])  # ceil(16 * 0.9) = 15th of 15
            covered.append(kept[label])
            sizes.append(sum(kept))
    assert conformal.threshold(np.arange(15.0), 0.9) == 14
    assert by_class.covered.value == approx(np.mean(covered))
    assert by_class.size.value == approx(np.mean(sizes))
    assert by_class.always_included == 0


def test_e8_chance_accuracy_is_that_of_the_largest_class_wherever_the_training_patients_come_from():
    """Whole sites are tested: the most frequent class in training is the rarest in the test part."""
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    prior = np.tile([0.1, 0.2, 0.7], (100, 1))
    found = chance_metrics(prior, labels, 3)
    named = np.zeros(100, dtype=int)
    assert found["accuracy"] == 0.6
    assert found["macro_f1"] == approx(f1_score(labels, named, average="macro", zero_division=0))
    assert found["weighted_f1"] == approx(f1_score(labels, named, average="weighted", zero_division=0))
    assert found["balanced_accuracy"] == approx(balanced_accuracy_score(labels, named))
    assert found["log_loss"] == approx(log_loss(labels, prior))
    assert {name: found[name] for name in ("accuracy", "macro_f1")}.items() <= chance_metrics(None, labels, 3).items()


def test_chance_is_what_class_shares_reach(run):
    chance = metrics_of(run).chance
    prior = run.predictions[run.predictions["model"] == "prior"]
    p, truth = prior[COLUMNS].to_numpy(), prior["truth"]
    assert chance["log_loss"] == approx(log_loss(truth, p, labels=CLASSES), abs=1e-12)
    assert chance["brier"] == approx(brier_score_loss(truth, p, labels=CLASSES, scale_by_half=False), abs=1e-12)
    assert chance["accuracy"] == approx(truth.value_counts(normalize=True).max())
    assert (chance["macro_auroc"], chance["balanced_accuracy"]) == (0.5, 1 / 3)


def test_without_validation_nothing_is_scaled_and_no_sets_are_made(run):
    without = replace(run, validation=run.validation.iloc[:0])
    metrics = metrics_of(without)
    assert metrics.calibration.calibrated is None
    assert metrics.conformal is None


def test_subgroups_are_parted_at_the_medians_of_their_fold_and_small_ones_say_so(run):
    rows = {(row.column, row.group): row for row in metrics_of(run).subgroups}
    assert rows["site", "small"].metrics is None
    assert "too few" in rows["site", "small"].why
    assert rows["site", "big"].metrics["macro_auroc"].low is not None
    # fold 0 holds ages 0 to 59, cut at 30; fold 1 ages 60 to 119, cut at 90
    assert rows["age", "above the training median"].n == 29 + 29
    assert rows["age", "up to the training median"].n == 31 + 31
    assert rows["grade", "low"].n == 60


def test_one_covariate_alone_has_subgroups_too(run):
    alone = replace(run, patients=run.patients[["patient_id", "grade"]])
    assert {row.group for row in metrics_of(alone).subgroups} == {"low", "high"}


def test_sites_that_look_like_numbers_stay_apart(tmp_path):
    folds = (replace(FOLDS[0], covariate_medians={"age": 3.0}),)
    facts = replace(FACTS, folds=folds, covariates=CovariateFacts(used=("age", "code"), left_out={}))
    (tmp_path / "predictions.csv").write_text("repeat,fold,patient_id,model,truth\n0,0,a,attention,A\n")
    (tmp_path / "patients.csv").write_text("patient_id,site,age,code\na,01,5,1\nb,1,6,01\n")
    write_facts(tmp_path, facts)
    patients = read_run(RunFolder(tmp_path)).patients
    assert patients["site"].tolist() == ["01", "1"]
    assert patients["code"].tolist() == ["1", "01"]
    assert patients["age"].tolist() == [5, 6]


def test_selective_prediction_keeps_the_most_certain_first():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    labels = np.array([0, 1, 0, 0])  # the third is wrong
    found = selective_of(probabilities, labels)
    assert found.curve == ((0.25, 1.0), (0.5, 1.0), (0.75, approx(2 / 3)), (1.0, 0.75))
    assert {each.coverage: each.accuracy for each in found.at} == {
        0.5: 1.0, 0.6: approx(2 / 3), 0.7: approx(2 / 3), 0.8: 0.75, 0.9: 0.75, 1.0: 0.75,
    }  # fmt: skip
    assert found.area_under_risk == approx((0 + 0 + 1 / 3 + 1 / 4) / 4)


def test_a_fold_has_its_own_discrimination_and_none_where_it_is_not_defined(run):
    own = run.predictions[(run.predictions["model"] == "attention") & (run.predictions["fold"] == 1)]
    found = SUBTYPE.metrics_of_fold(run, (2, 1), own)
    named = np.array(CLASSES)[own[COLUMNS].to_numpy().argmax(axis=1)]
    assert (found.repeat, found.fold, found.n) == (2, 1, 60)
    assert found.accuracy == approx((named == own["truth"]).mean())
    assert found.balanced_accuracy == approx(balanced_accuracy_score(own["truth"], named))
    assert found.macro_auroc == approx(np.mean([roc_auc_score(own["truth"] == k, own[f"p_{k}"]) for k in CLASSES]))
    alone = own[own["truth"] == "A"]
    assert SUBTYPE.metrics_of_fold(run, (0, 0), alone).macro_auroc is None
    assert SUBTYPE.metrics_of_fold(run, (0, 0), alone).accuracy is not None


@pytest.mark.parametrize(("n_small", "is_enough"), [(4, False), (5, True)])
def test_a_group_needs_ten_patients_and_five_of_a_class(run, n_small, is_enough):
    own = run.predictions[run.predictions["model"] == "attention"].set_index("patient_id")
    chosen = [*own.index[own["truth"] == "A"][:20], *own.index[own["truth"] == "B"][:n_small]]
    found = SUBTYPE.metrics_of_group(run, pd.Index(sorted(chosen)), 100, np.random.default_rng(0))
    if not is_enough:
        assert found.metrics is None
        assert found.why == "too few: under 10 patients, or no subtype of 5 beside 5 others"
        return
    rows = own.loc[chosen]
    named = np.array(CLASSES)[rows[COLUMNS].to_numpy().argmax(axis=1)]
    assert found.metrics["accuracy"].value == approx((named == rows["truth"]).mean())
    wanted = np.mean([roc_auc_score(rows["truth"] == k, rows[f"p_{k}"]) for k in "AB"])
    assert found.metrics["macro_auroc"].value == approx(wanted)


def test_absent_and_small_classes_are_named():
    labels = np.repeat([0, 1, 2, 4], [5, 4, 1, 12])
    assert class_notes(labels, tuple("ABCDE")) == (
        "no test patient of D: left out of macro averages",
        "under 5 test patients of B (4), C (1): no interval of their own, left out of macro averages",
    )
    assert class_notes(np.repeat([0, 1], [5, 5]), tuple("AB")) == ()


def test_chance_is_over_the_classes_of_the_macro_average():
    labels = np.repeat([0, 1, 2, 3], [30, 10, 4, 6])  # the third is too small
    found = chance_metrics(None, labels, 5)
    share = np.array([0.6, 0.2, 0.08, 0.12])
    assert found["balanced_accuracy"] == approx(1 / 3)
    assert found["macro_average_precision"] == approx(share[[0, 1, 3]].mean())
    assert found["weighted_average_precision"] == approx((share**2).sum())
    assert found["weighted_f1"] == approx(f1_score(labels, labels * 0, average="weighted", zero_division=0))
    assert found["macro_f1"] == approx(2 * 0.6 / 1.6 / 3)
    assert (found["macro_auroc"], found["weighted_auroc"], found["cohen_kappa"]) == (0.5, 0.5, 0.0)
    assert "log_loss" not in found


def test_the_record_of_a_run_holds_its_classes_confusion_folds_and_sizes(run):
    found = metrics_of(run)
    own = run.predictions[run.predictions["model"] == "attention"]
    named = np.array(CLASSES)[own[COLUMNS].to_numpy().argmax(axis=1)]
    assert np.array_equal(found.confusion.counts, confusion_matrix(own["truth"], named, labels=CLASSES))
    for name in CLASSES:
        assert found.per_class[name].n == 40
        assert found.per_class[name].auroc.value == approx(roc_auc_score(own["truth"] == name, own[f"p_{name}"]))
        wanted = average_precision_score(own["truth"] == name, own[f"p_{name}"])
        assert found.per_class[name].average_precision.value == approx(wanted)
    assert found.attention["accuracy"].value == approx((named == own["truth"]).mean())
    assert (found.n_patients, found.evaluated, found.unit, found.notes) == (120, True, "patient", ())
    assert (found.bootstrap.n, found.bootstrap.seed, found.bootstrap.n_drawn) == (100, 0, 120)
    assert [(fold.repeat, fold.fold, fold.n) for fold in found.folds_tested] == [(0, 0, 60), (0, 1, 60)]
    assert (found.mean_pool, found.clinical, found.differences, found.images) == (None, None, {}, None)
    assert (found.bags.n, found.bags.n_of_one_tile) == (run.facts.n_patients, run.facts.n_bags_of_one_tile)
    assert isinstance(metrics_of(replace(run, predictions=run.predictions.iloc[:0])), NotEvaluated)
    slides = {patient: patient[:-1] for patient in own["patient_id"]}
    by_slide = metrics_of(replace(run, facts=replace(run.facts, patient_of=slides)))
    assert by_slide.n_patients == 120
    assert by_slide.bootstrap.n_drawn == len(set(slides.values())) == 12


def test_differences_are_the_attention_models_less_each_baselines(run):
    own = run.predictions[run.predictions["model"] == "attention"]
    rng = np.random.default_rng(3)
    noise = rng.dirichlet(np.ones(3), len(own))
    both = pd.concat([run.predictions, own.assign(model="mean_pool", **dict(zip(COLUMNS, noise.T, strict=True)))])
    found = metrics_of(replace(run, predictions=both.reset_index(drop=True)))
    assert list(found.differences) == ["mean_pool"]
    assert found.clinical is None
    known = {name: span for name, span in found.differences["mean_pool"].items() if span.value is not None}
    assert set(DISCRIMINATION) <= set(known)
    for name, span in known.items():
        assert span.value == approx(found.attention[name].value - found.mean_pool[name].value)
    assert found.differences["mean_pool"]["macro_auroc"].low > 0


def test_prediction_sets_are_counted_over_patients_and_by_class(run):
    found = metrics_of(run).conformal
    assert (found.coverage_wanted, found.least_patients) == (conformal.COVERAGE, 9)
    for kind, thresholds in (("by_class", conformal.class_thresholds), ("common", conformal.common_thresholds)):
        sets, truths = [], []
        for fold in (0, 1):
            held = run.validation[run.validation["fold"] == fold]
            own = run.predictions[(run.predictions["fold"] == fold) & (run.predictions["model"] == "attention")]
            limits = thresholds(held[COLUMNS].to_numpy(), run.codes(held["truth"]), conformal.COVERAGE)
            sets.append(conformal.prediction_sets(own[COLUMNS].to_numpy(), limits))
            truths.append(run.codes(own["truth"]))
        sets, truth = np.concatenate(sets), np.concatenate(truths)
        covered, sizes = sets[np.arange(120), truth], sets.sum(axis=1)
        own = getattr(found, kind)
        assert (own.covered.value, own.size.value) == (approx(covered.mean()), approx(sizes.mean()))
        assert (own.single.value, own.empty.value) == (approx((sizes == 1).mean()), approx((sizes == 0).mean()))
        assert own.covered_by_class == approx([covered[truth == index].mean() for index in range(3)])
        assert (own.always_included, own.n_thresholds) == (0, 6)
    few = replace(run, validation=run.validation.groupby("fold").head(6))  # two of each class: too few for a threshold
    assert metrics_of(few).conformal.by_class.always_included == 6
    half = replace(run, validation=run.validation[run.validation["fold"] == 0])
    assert metrics_of(half).conformal is None
    assert metrics_of(half).calibration.calibrated is None
    assert [fold.fold for fold in metrics_of(half).calibration.temperatures] == [0]


def test_calibration_is_told_with_its_bins_and_temperatures(run):
    found = metrics_of(run).calibration
    own = run.predictions[run.predictions["model"] == "attention"]
    assert found.n_bins == n_bins_for(120)
    assert found.raw.bins == reliability(own[COLUMNS].to_numpy(), run.codes(own["truth"]), found.n_bins)
    assert [(each.repeat, each.fold, each.n_val) for each in found.temperatures] == [(0, 0, 45), (0, 1, 45)]
    assert [each.temperature for each in found.temperatures] == [value for value, _ in temperatures(run).values()]
    scaled = calibrated_predictions(run)[COLUMNS].to_numpy()
    assert found.calibrated.bins == reliability(scaled, run.codes(own["truth"]), found.n_bins)


def grouped(run, **columns):
    patients = run.patients[["patient_id"]].assign(**columns)
    return {(row.column, row.group): row.n for row in metrics_of(replace(run, patients=patients)).subgroups}


def test_columns_of_few_values_have_groups_and_those_of_many_have_none(run):
    few, many = np.arange(120) % 8, np.arange(120) % 9
    found = grouped(run, stage=few, other=many)
    assert found == {("stage", str(value)): 15 for value in range(8)}
    sites = [f"H{number % 40:02d}" for number in range(120)]
    assert len(grouped(run, site=sites)) == 40
    assert grouped(run, site=[*sites[:119], "other"]) == {}
    halves = np.where(np.arange(120) % 3 == 0, 0.5, 1.0)
    halves[:10] = np.nan
    assert grouped(run, size=halves) == {("size", "0.5"): 36, ("size", "1"): 74}
    words = ["x", ""] * 60
    assert grouped(run, word=words) == {("word", "x"): 60}
    assert grouped(run, word=[""] * 120) == {}  # and no warning


def test_a_number_of_few_values_is_no_cut_and_missing_ones_are_in_no_part(run):
    ages = np.arange(120) % 4.0
    found = grouped(run, age=ages)
    assert found == {("age", str(value)): 30 for value in range(4)}
    ages = np.arange(120) % 5 * 20.0
    ages[:7] = np.nan
    found = grouped(run, age=ages)
    cuts = np.repeat([30.0, 90.0], 60)
    assert found == {
        ("age", "above the training median"): (ages > cuts).sum(),
        ("age", "up to the training median"): (ages <= cuts).sum(),
    }
    folds = (
        replace(run.facts.folds[0], covariate_medians={"age": 20.0}),
        replace(run.facts.folds[1], covariate_medians={}),
    )
    one_fold = grouped(replace(run, facts=replace(run.facts, folds=folds)), age=ages)
    assert one_fold == {
        ("age", "above the training median"): (ages[:60] > 20).sum(),
        ("age", "up to the training median"): (ages[:60] <= 20).sum(),
    }
    assert metrics_of(replace(run, patients=run.patients.iloc[:0])).subgroups == ()


def test_the_learning_curve_ends_with_the_run_itself(run):
    own = run.predictions[run.predictions["model"] == "attention"]
    both = pd.concat([own, own.assign(model="mean_pool")]).reset_index(drop=True)
    turned = both.assign(p_A=both["p_B"], p_B=both["p_A"])
    facts = replace(run.facts, learning_curve=(ShareFacts(share=0.25, n_train=5.0), ShareFacts(share=0.5, n_train=9.0)))
    found = metrics_of(replace(run, predictions=both, facts=facts, shares={0.25: turned, 0.5: both})).learning_curve
    assert [(point.share, point.n_train) for point in found] == [(0.25, 5.0), (0.5, 9.0), (1.0, 16.0)]
    whole = metrics_of(replace(run, predictions=both))
    assert whole.learning_curve == ()
    assert found[2].attention == whole.attention["macro_auroc"]
    half, full = found[1].attention, found[2].attention  # the same predictions, by models of 9 patients instead of 20
    assert half.value == full.value
    assert half.low - half.value == pytest.approx((full.low - full.value) * np.sqrt((1 + 120 / 9) / (1 + 120 / 20)))
    assert found[0].attention.value < found[1].attention.value
    assert found[2].mean_pool == whole.mean_pool["macro_auroc"]


def test_a_patient_stands_in_the_stratum_of_its_rarest_label_and_is_drawn_with_all_bags():
    labels, owners = np.array([0, 1, 0, 0, 2, 1, 0, 2]), np.array([0, 0, 1, 2, 2, 3, 4, 5])
    assert patient_strata(labels, owners).tolist() == [1, 0, 2, 1, 0, 2]
    assert patient_strata(np.array([1, 0]), np.array([0, 0])).tolist() == [0]  # equally rare: the first
    plan = plan_of_bags(labels, owners, 50, np.random.default_rng(0))
    assert plan.counts.shape == (8, 50)
    for one, other in ((0, 1), (3, 4)):
        assert (plan.counts[one] == plan.counts[other]).all()
        assert plan.group_of[one] == plan.group_of[other]
    by_patient = plan.counts[[0, 2, 3, 5, 6, 7]]
    for stratum in (0, 1, 2):
        assert (by_patient[np.array([1, 0, 2, 1, 0, 2]) == stratum].sum(axis=0) == 2).all()
    alone = plan_of_bags(labels, None, 50, np.random.default_rng(0))
    assert (alone.counts == plan_resampling(labels, 50, np.random.default_rng(0)).counts).all()


@pytest.mark.parametrize(
    ("n_of", "tested"),
    [((5, 5), True), ((4, 6), False), ((6, 4), False), ((5, 4), False), ((5, 40), True), ((40, 5), True)],
)
def test_delong_needs_ten_patients_five_of_the_class_and_five_others(n_of, tested):
    labels = np.repeat([0, 1], n_of)
    rng = np.random.default_rng(0)
    p = rng.random(len(labels))
    first, second = np.stack([p, 1 - p], axis=1), np.stack([rng.random(len(labels))] * 2, axis=1)
    found = delong_tests(("a", "b"), first, second, labels)
    assert [(test.class_name, test.n) for test in found] == [("a", n_of[0]), ("b", n_of[1])]
    assert all((test.p is not None) == tested for test in found)
    if tested:
        wanted = compare_aurocs(first[:, 1], second[:, 1], labels == 1)
        assert (found[1].first, found[1].second, found[1].p) == (wanted.first, wanted.second, wanted.p)
        assert [test.p_holm for test in found] == holm([test.p for test in found])
    assert all(test.p is None for test in delong_tests(("a", "b"), first, second, labels, are_independent=False))


def test_folds_that_share_training_patients_widen_and_one_model_for_all_does_not(run):
    own = run.predictions["model"] == "attention"
    n = run.predictions.loc[own, "patient_id"].nunique()
    assert n == 120
    assert widening_of(run) == np.sqrt(1 + n / 20)  # 16 trained, 4 in the inner part
    assert widening_of(run, 10) == np.sqrt(1 + 10 / 20)
    bare = replace(run, facts=replace(run.facts, folds=()))
    assert widening_of(bare) == np.sqrt(1 + 120 / 60)  # two folds of 60: all others trained
    assert widening_of(replace(run, predictions=run.predictions.assign(fold=0, repeat=0))) == 1
    found = metrics_of(run)
    assert found.bootstrap.widening == widening_of(run)
