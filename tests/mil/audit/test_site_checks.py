"""What is said of sites: the verdict on site and class, who is counted as tested, and whose folds predict the site."""

import numpy as np
import pytest

from mil.audit import site_checks
from mil.audit.checks import OK, WARNING
from mil.audit.site_checks import Sites, check_site_by_class, check_site_from_embeddings, check_sites_across_folds
from splits.fold_plan import FoldPlan

NAMES = tuple(f"P{number:02}" for number in range(40))


def known(sites, classes):
    """Patients P00 ... with these sites A, B ... and classes."""
    return Sites(
        patients=NAMES[: len(sites)], site_names=tuple("ABCDEFGH"), class_names=("LMS", "SS"), sites=np.array(sites),
        classes=np.array(classes), n_unknown=0,
    )  # fmt: skip


def plan(repeat, fold, is_test):
    train, test = (tuple(name for name, own in zip(NAMES, is_test, strict=False) if own == side) for side in (0, 1))
    return FoldPlan(repeat=repeat, fold=fold, train=train, val=(), test=test)


@pytest.mark.parametrize(
    ("p", "has_outlier", "verdict", "words"),
    [
        (0.2, False, OK, ": no association is shown"),
        (0.2, True, WARNING, ": over all sites together no association is shown, but one stands out. Confounded: A gave"),
        (0.01, False, WARNING, ": a model that reads the site knows something of the class"),
        (0.01, True, WARNING, ": a model that reads the site knows something of the class. Confounded: A gave"),
    ],
)  # fmt: skip
def test_what_is_said_of_site_and_class_goes_by_p_and_by_single_sites(monkeypatch, p, has_outlier, verdict, words):
    monkeypatch.setattr(site_checks, "permutation_p", lambda table, rng: p)
    monkeypatch.setattr(site_checks, "concentrated_classes", lambda table: [(0, 1)] if has_outlier else [])
    found = check_site_by_class(known([0, 1] * 10, [0, 1, 1, 0] * 5), 0)
    assert found.verdict == verdict
    assert words in found.text
    assert ("Confounded" in found.text) == has_outlier


def test_patients_of_the_splits_are_counted_and_those_of_the_random_split_beside_them():
    """Three folds, each a site: nobody is tested at a site of training; 18 tests here, 18 of the random split."""
    sites = np.repeat([0, 1, 2], 6)
    folds = [plan(0, fold, (sites == fold).astype(int)) for fold in range(3)]
    found = check_sites_across_folds(known(sites, [0, 1] * 9), folds, is_confounded=True, seed=0)
    assert found.verdict == OK
    assert found.text.startswith(
        "no test patient comes from a site that the model trained on; in a random split it would be"
    )
    assert found.text.endswith(" of 18")
    assert [row[0] for row in found.table.rows] == ["these splits"] * 3 + ["a random split"] * 3
    odd = [plan(0, fold, np.arange(18) % 3 == fold) for fold in range(3)]
    crossed = check_sites_across_folds(known(sites, [0, 1] * 9), odd, is_confounded=True, seed=0)
    assert (crossed.verdict, crossed.text) == (
        WARNING, "18 of 18 test patients come from a site with training patients in their fold",
    )  # fmt: skip


def test_the_site_is_predicted_in_the_folds_of_the_first_repeat(monkeypatch):
    asked = []
    monkeypatch.setattr(site_checks, "predict_sites", lambda means, sites, folds, rng: asked.append(folds))
    sites, means = np.arange(20) % 2, np.zeros((20, 3))
    first = [plan(3, fold, np.arange(20) // 10 == fold) for fold in range(2)]
    other = [plan(4, fold, np.arange(20) // 5 == fold) for fold in range(4)]
    check_site_from_embeddings(known(sites, sites), means, [*first, *other], is_confounded=False, seed=0)
    ((one, two),) = asked
    assert (one[1] == (np.arange(20) < 10)).all()
    assert (two[1] == (np.arange(20) >= 10)).all()
    assert (one[0] == ~one[1]).all()
