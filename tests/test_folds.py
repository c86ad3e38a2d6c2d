"""No patient on two sides, strata even, the same in any row order, and faults named."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import read_cohort
from common.failures import StudyError
from splits.folds import deal, given_sets, inner_validation, k_fold_sets
from splits.make_splits import main
from splits.split_store import check_against_cohort, make_k_fold, read_splits, write_splits

strata = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=6, max_size=60).map(np.array)


@given(strata, st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_everyone_is_tested_once_and_strata_are_even(codes, n_folds, seed):
    folds = k_fold_sets(codes, n_folds=n_folds, n_repeats=2, val_fraction=0.2, seed=seed)
    for repeat in (0, 1):
        tested = np.sum([sets == "test" for r, _, sets in folds if r == repeat], axis=0)
        assert (tested == 1).all()
    for column in (slice(0, 1), slice(None)):  # classes, then classes and events together
        for stratum in np.unique(codes[:, column], axis=0):
            members = (codes[:, column] == stratum).all(axis=1)
            counts = [int(((sets == "test") & members).sum()) for r, _, sets in folds if r == 0]
            assert max(counts) - min(counts) <= 1
    sizes = [int((sets == "test").sum()) for r, _, sets in folds if r == 0]
    assert max(sizes) - min(sizes) <= 1


@given(strata, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_validation_comes_from_training_and_leaves_small_classes_whole(codes, seed):
    rng = np.random.default_rng(seed)
    is_train = rng.random(len(codes)) < 0.7
    is_val = inner_validation(codes, is_train, 0.25, rng)
    assert not (is_val & ~is_train).any()
    for name in np.unique(codes[is_train, 0]):
        n_train, n_val = (is_train & (codes[:, 0] == name)).sum(), (is_val & (codes[:, 0] == name)).sum()
        assert n_val <= n_train - 1 if n_train >= 3 else n_val == 0


def test_repeats_differ_and_seeds_repeat():
    codes = np.zeros((40, 1), dtype=np.int64)
    one = k_fold_sets(codes, n_folds=4, n_repeats=2, val_fraction=0.0, seed=1)
    two = k_fold_sets(codes, n_folds=4, n_repeats=2, val_fraction=0.0, seed=1)
    assert all((a[2] == b[2]).all() for a, b in zip(one, two, strict=True))
    assert (one[0][2] != one[4][2]).any()


def test_wrong_numbers_are_refused():
    codes = np.zeros((5, 1), dtype=np.int64)
    with pytest.raises(ValueError, match="at least 2 folds"):
        k_fold_sets(codes, n_folds=1, n_repeats=1, val_fraction=0.0, seed=0)
    with pytest.raises(ValueError, match="cannot fill 6"):
        k_fold_sets(codes, n_folds=6, n_repeats=1, val_fraction=0.0, seed=0)
    with pytest.raises(ValueError, match=r"0 to 0\.5"):
        inner_validation(codes, np.ones(5, dtype=bool), 0.7, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 1 part"):
        deal(codes, 0, np.random.default_rng(0))


def test_given_sets_are_kept():
    codes = np.zeros((12, 1), dtype=np.int64)
    given = ["train"] * 9 + ["test"] * 3
    ((_, _, sets),) = given_sets(codes, given, val_fraction=0.2, seed=0)
    assert (sets[9:] == "test").all()
    assert set(sets[:9]) == {"train", "val"}
    ((_, _, sets),) = given_sets(codes, [*given[:-1], "val"], val_fraction=0.2, seed=0)
    assert (sets == "val").sum() == 1


@pytest.fixture
def study(tmp_path):
    n = 30
    table = pd.DataFrame(
        {
            "patient_id": [f"p{i:02d}" for i in range(n)],
            "slide_id": [f"s{i:02d}" for i in range(n)],
            "subtype": np.repeat(["A", "B", "C"], [15, 10, 5]),
            "time": np.arange(n) + 1,
            "event": np.arange(n) % 2,
        }
    )
    table.to_csv(tmp_path / "cohort.csv", index=False)
    return tmp_path


def test_script_makes_the_same_file_from_shuffled_rows(study, capsys):
    assert main(["--study", str(study)]) == 0
    assert "30 patients" in capsys.readouterr().out
    first = (study / "splits" / "default.csv").read_bytes()
    table = pd.read_csv(study / "cohort.csv").sample(frac=1, random_state=3)
    table.to_csv(study / "cohort.csv", index=False)
    assert main(["--study", str(study)]) == 0
    assert (study / "splits" / "default.csv").read_bytes() == first


def test_script_never_replaces_other_splits_unasked(study, capsys):
    assert main(["--study", str(study)]) == 0
    before = (study / "splits" / "default.csv").read_bytes()
    assert main(["--study", str(study), "--seed", "5"]) == 2
    assert "--overwrite true" in capsys.readouterr().err
    assert (study / "splits" / "default.csv").read_bytes() == before
    assert main(["--study", str(study), "--seed", "5", "--overwrite", "true"]) == 0
    assert (study / "splits" / "default.csv").read_bytes() != before


def test_a_class_smaller_than_the_folds_is_named(study, capsys):
    assert main(["--study", str(study), "--folds", "6"]) == 2
    assert "C (5)" in capsys.readouterr().err


def test_splits_are_checked_at_every_reading(study):
    cohort = read_cohort(study / "cohort.csv")
    path = study / "splits.csv"
    splits = make_k_fold(cohort, n_folds=5, n_repeats=1, val_fraction=0.2, seed=0)
    write_splits(path, splits)
    read = read_splits(path)
    check_against_cohort(path, read, cohort)
    with pytest.raises(StudyError, match="the cohort but not the splits: p00"):
        check_against_cohort(path, read[read["patient_id"] != "p00"], cohort)
    faults = {
        "stands twice": pd.concat([splits, splits.iloc[:1]]),
        "is missing from": splits.iloc[1:],
        "tested twice": splits.assign(set="test"),
        "must be train, val or test": splits.assign(set="dev"),
        "wanted the columns": splits.drop(columns="fold"),
    }
    for message, faulty in faults.items():
        faulty.to_csv(path, index=False)
        with pytest.raises(StudyError, match=message):
            read_splits(path)
    with pytest.raises(StudyError, match=r"make_splits\.py"):
        read_splits(study / "none.csv")
