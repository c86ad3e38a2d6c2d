"""Results by image: every figure against its slow twin, and intervals that draw whole patients."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score

from mil.evaluation.image_metrics import image_metrics, votes

CLASSES = ["B", "A", "C"]  # in an order of their own


def table_of(n_patients=30, seed=0, n_repeats=2):
    """Images of patients in unequal numbers, in each repeat anew, with a baseline, rows in no order."""
    rng, rows = np.random.default_rng(seed), []
    for patient, repeat in itertools.product(range(n_patients), range(n_repeats)):
        for image in range(1 + patient % 4):
            row = {"repeat": repeat, "fold": patient % 2, "patient_id": f"p{patient:02d}", "image": f"i{image}",
                   "n_fields": 3, "truth": CLASSES[patient % 3]}  # fmt: skip
            for prefix, skill in (("", 1.0), ("mean_pool_", 0.3)):
                p = np.exp(rng.normal(size=3) + skill * np.eye(3)[patient % 3])
                row |= {f"{prefix}p_{name}": value for name, value in zip(CLASSES, p / p.sum(), strict=True)}
            rows.append(row)
    return pd.DataFrame(rows).sample(frac=1, random_state=seed)


def slow_votes(images, columns):
    """Return the class most of a patient's images have, of equally many that of the higher sum, by patient."""
    found = {}
    for patient, own in images.groupby("patient_id"):
        values = own[columns].to_numpy()
        counts = np.bincount(values.argmax(axis=1), minlength=len(columns))
        tied = [index for index in range(len(columns)) if counts[index] == counts.max()]
        found[patient] = max(tied, key=lambda index: values[:, index].sum())
    return found


def slow_figures(images, columns):
    truth = images["truth"].map(CLASSES.index)
    values = images[columns].to_numpy()
    voted = slow_votes(images, columns)
    right = [voted[patient] == own["truth"].map(CLASSES.index).iloc[0] for patient, own in images.groupby("patient_id")]
    return {
        "macro_auroc": np.mean([roc_auc_score(truth == index, values[:, index]) for index in range(3)]),
        "accuracy": accuracy_score(truth, values.argmax(axis=1)),
        "vote_accuracy": np.mean(right),
    }


def test_every_figure_is_that_of_the_slow_twin():
    table = table_of()
    names = [name for name in table.columns if "p_" in name]
    images = table.groupby(["patient_id", "image"]).agg(dict.fromkeys(names, "mean") | {"truth": "first"}).reset_index()
    found = image_metrics(table, CLASSES, n_bootstrap=200, seed=0)
    own = slow_figures(images, [f"p_{name}" for name in CLASSES])
    other = slow_figures(images, [f"mean_pool_p_{name}" for name in CLASSES])
    for name, value in own.items():
        span = getattr(found, name)
        assert span.value == pytest.approx(value)
        assert span.low < value < span.high
        assert found.baselines["mean_pool"].figures[name].value == pytest.approx(other[name])
        assert found.baselines["mean_pool"].differences[name].value == pytest.approx(value - other[name])
    assert list(found.baselines) == ["mean_pool"]
    truth = images["truth"].map(CLASSES.index)
    assert (found.n_images, found.n_patients) == (len(images), 30)
    assert found.chance_accuracy == pytest.approx(truth.value_counts(normalize=True).max())
    assert list(found.per_class) == CLASSES
    values = images[[f"p_{name}" for name in CLASSES]].to_numpy()
    for index, name in enumerate(CLASSES):
        assert found.per_class[name].n == (truth == index).sum()
        assert found.per_class[name].auroc.value == pytest.approx(roc_auc_score(truth == index, values[:, index]))
    assert found.confusion.classes == tuple(CLASSES)
    assert np.array_equal(found.confusion.counts, confusion_matrix(truth, values.argmax(axis=1)))


def test_without_images_there_is_nothing_and_without_a_baseline_none():
    assert image_metrics(pd.DataFrame(), ["A"], n_bootstrap=100, seed=0) is None
    table = table_of()
    alone = table.drop(columns="mean_pool_p_A")  # half a baseline is none
    assert image_metrics(alone, CLASSES, n_bootstrap=100, seed=0).baselines == {}


def test_copies_of_an_image_do_not_narrow_the_interval():
    """Ten copies of each image hold no more evidence: a bootstrap over images would shrink by a factor of about 3."""
    spans = []
    for copies in (1, 10):
        rows, own = [], np.random.default_rng(2)
        for patient in range(24):
            score = own.normal(patient % 2, 1.5)
            p = 1 / (1 + np.exp(-score))
            rows += [[0, 0, f"p{patient:02d}", f"i{copy}", 1, "AB"[patient % 2], 1 - p, p] for copy in range(copies)]
        names = ["repeat", "fold", "patient_id", "image", "n_fields", "truth", "p_A", "p_B"]
        found = image_metrics(pd.DataFrame(rows, columns=names), ["A", "B"], n_bootstrap=500, seed=0)
        spans.append({name: getattr(found, name) for name in ("accuracy", "macro_auroc", "vote_accuracy")})
    for name, span in spans[0].items():
        assert spans[1][name].value == pytest.approx(span.value)
        assert spans[1][name].high - spans[1][name].low == pytest.approx(span.high - span.low, rel=0.1)


def test_bags_that_are_slides_are_drawn_with_their_patient():
    """Three slides of each patient, all alike, hold no more evidence than one; each slide has a vote of its own."""
    table = table_of(n_patients=24, n_repeats=1)
    alone = image_metrics(table, CLASSES, n_bootstrap=500, seed=0)
    slides = pd.concat([table.assign(patient_id=table["patient_id"] + f"_{number}") for number in range(3)])
    owner = {slide: slide[:3] for slide in slides["patient_id"]}
    together = image_metrics(slides, CLASSES, n_bootstrap=500, seed=0, patient_of=owner)
    assert (together.n_images, together.n_patients) == (3 * alone.n_images, 72)
    apart = image_metrics(slides, CLASSES, n_bootstrap=500, seed=0)
    for name in ("macro_auroc", "vote_accuracy"):
        widths = [getattr(each, name).high - getattr(each, name).low for each in (alone, together, apart)]
        assert getattr(together, name).value == pytest.approx(getattr(alone, name).value)
        assert widths[1] == pytest.approx(widths[0], rel=0.15)
        assert widths[2] < 0.75 * widths[0]


@pytest.mark.parametrize(("n_of_c", "is_in"), [(4, False), (5, True)])
def test_a_class_of_too_few_patients_is_no_part_of_the_macro_average(n_of_c, is_in):
    table = table_of(n_patients=36, n_repeats=1)
    of_c = sorted(table.loc[table["truth"] == "C", "patient_id"].unique())
    table = table[~table["patient_id"].isin(of_c[n_of_c:])]
    truth = table["truth"].map(CLASSES.index)
    aurocs = [roc_auc_score(truth == index, table[f"p_{name}"]) for index, name in enumerate(CLASSES)]
    found = image_metrics(table, CLASSES, n_bootstrap=100, seed=0)
    assert found.macro_auroc.value == pytest.approx(np.mean(aurocs if is_in else aurocs[:2]))
    assert (found.per_class["C"].auroc.low is None) == (not is_in)


def test_patients_all_of_whom_are_right_have_exact_limits_of_their_number():
    table = table_of(n_patients=24, n_repeats=1)
    for name in CLASSES:
        table[f"p_{name}"] = np.where(table["truth"] == name, 0.9, 0.05)
    found = image_metrics(table, CLASSES, n_bootstrap=100, seed=0)
    assert (found.vote_accuracy.value, found.vote_accuracy.high) == (1, 1)
    assert found.vote_accuracy.low == pytest.approx(0.025 ** (1 / 24))
    assert found.per_class["A"].auroc.low == pytest.approx(0.025 ** (1 / 8))


def test_a_vote_among_equally_many_goes_to_the_higher_mean():
    probabilities = np.array(
        [[0.6, 0.4, 0], [0.1, 0.9, 0], [0.2, 0.2, 0.6], [0.55, 0.45, 0], [0.1, 0.9, 0], [0.5, 0.4, 0.1]]
    )
    assert votes(probabilities, np.array([0, 0, 1, 2, 2, 2])).tolist() == [1, 2, 0]
    zeros = np.array([[0.0, 0.0], [0.0, 0.0]])
    assert votes(zeros, np.array([0, 0])).tolist() == [0]


def test_a_share_that_no_draw_changes_has_exact_limits_where_it_counts_patients():
    """Votes right in one class alone; and of each patient's two slides one: the second is no count of patients."""
    table = table_of(n_patients=24, n_repeats=1)
    for name in CLASSES:
        table[f"p_{name}"] = 0.9 if name == "A" else 0.05
    votes_ = image_metrics(table, CLASSES, n_bootstrap=100, seed=0).vote_accuracy
    limits = binomtest(8, 24).proportion_ci(method="exact")
    assert (votes_.value, votes_.low, votes_.high) == pytest.approx((1 / 3, limits.low, limits.high))
    slides = pd.concat([table.assign(patient_id=table["patient_id"] + f"_{number}") for number in range(2)])
    is_right = slides["patient_id"].str.endswith("_1")
    for name in CLASSES:
        slides[f"p_{name}"] = np.where((slides["truth"] == name) == is_right, 0.8, 0.1)
    owner = {slide: slide[:3] for slide in slides["patient_id"]}
    half = image_metrics(slides, CLASSES, n_bootstrap=100, seed=0, patient_of=owner).vote_accuracy
    assert (half.value, half.low, half.high, half.method) == (0.5, None, None, "none")
