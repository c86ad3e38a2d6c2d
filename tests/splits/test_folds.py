"""No patient on two sides, strata even, the same in any row order, and faults named."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import read_cohort
from common.failures import StudyError
from splits.folds import Strata, deal, draw, given_sets, inner_validation, k_fold_sets, monte_carlo_sets, time_bins
from splits.make_splits import main
from splits.split_methods import make_splits
from splits.split_settings import SplitConfig
from splits.split_store import check_against_cohort, read_splits, write_splits
from tests.reference.slow_folds import slow_draw_counts

patients = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-1, 1), st.floats(0, 100, width=16)), min_size=6, max_size=60
)


def coded(rows):
    classes, events, times = (np.array(column) for column in zip(*rows, strict=True))
    times = np.where(events < 0, np.nan, times.astype(np.float64))
    return Strata(classes=classes.astype(np.int64), events=events.astype(np.int64), times=times)


def one_class(n):
    return coded([(0, -1, 0.0)] * n)


@given(patients.map(coded), st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_everyone_is_tested_once_and_strata_are_even(strata, n_folds, seed):
    folds = k_fold_sets(strata, n_folds=n_folds, n_repeats=2, val_fraction=0.2, seed=seed)
    for repeat in (0, 1):
        tested = np.sum([sets == "test" for r, _, sets in folds if r == repeat], axis=0)
        assert (tested == 1).all()
    codes = strata.codes(np.ones(len(strata), dtype=bool))
    for n_keys in (1, 2, 3):  # classes; classes and events; classes, events and times
        for stratum in np.unique(codes[:, :n_keys], axis=0):
            members = (codes[:, :n_keys] == stratum).all(axis=1)
            counts = [int(((sets == "test") & members).sum()) for r, _, sets in folds if r == 0]
            assert max(counts) - min(counts) <= 1
    sizes = [int((sets == "test").sum()) for r, _, sets in folds if r == 0]
    assert max(sizes) - min(sizes) <= 1


def test_events_are_even_over_all_classes_together():
    """Five classes, each with its own leftover events: alone they could pile up in one fold."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = [(name, int(event), 1.0) for name in range(5) for event in rng.random(int(rng.integers(6, 20))) < 0.45]
        strata = coded(rows)
        folds = k_fold_sets(strata, n_folds=5, n_repeats=1, val_fraction=0.0, seed=seed)
        events = [int(strata.events[sets == "test"].sum()) for _, _, sets in folds]
        assert max(events) - min(events) <= 1


@given(patients.map(coded), st.floats(0.05, 0.95), st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_a_drawn_part_has_its_share_of_every_stratum(strata, fraction, seed):
    codes = strata.codes(np.ones(len(strata), dtype=bool))
    is_drawn = draw(codes, fraction, np.random.default_rng(seed))
    for n_keys in (0, 1, 2, 3):
        for size, count in slow_draw_counts(codes[:, :n_keys].tolist(), is_drawn.tolist()):
            assert abs(count - fraction * size) < 1 + 1e-9


@given(patients.map(coded), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_validation_comes_from_training_and_leaves_small_classes_whole(strata, seed):
    rng = np.random.default_rng(seed)
    is_train = rng.random(len(strata)) < 0.7
    is_val = inner_validation(strata, is_train, 0.25, rng)
    assert not (is_val & ~is_train).any()
    for name in np.unique(strata.classes[is_train]):
        n_train, n_val = (is_train & (strata.classes == name)).sum(), (is_val & (strata.classes == name)).sum()
        assert n_val <= n_train - 1 if n_train >= 3 else n_val == 0


def test_inner_validation_never_looks_at_times_of_test_patients():
    rng = np.random.default_rng(0)
    is_train = np.arange(80) < 60
    times = rng.exponential(10, 80)
    strata = Strata(classes=np.zeros(80, np.int64), events=rng.integers(0, 2, 80), times=times)
    other = Strata(classes=strata.classes, events=strata.events, times=np.where(is_train, times, 1e6))
    one, two = (inner_validation(each, is_train, 0.2, np.random.default_rng(5)) for each in (strata, other))
    assert (one == two).all()


def test_time_bins_are_the_quarters_of_pandas():
    rng = np.random.default_rng(1)
    times, events = rng.exponential(10, 101), np.ones(101, dtype=np.int64)
    wanted = pd.qcut(times, 4, labels=False)
    assert (time_bins(times, events, np.ones(101, dtype=bool)) == wanted).all()


def test_monte_carlo_parts_are_independent_and_of_their_size():
    strata = coded([(i % 3, i % 2, float(i)) for i in range(60)])
    folds = monte_carlo_sets(strata, n_draws=8, test_fraction=0.25, val_fraction=0.2, seed=3)
    assert [(repeat, fold) for repeat, fold, _ in folds] == [(draw, 0) for draw in range(8)]
    assert all((sets == "test").sum() == 15 for _, _, sets in folds)
    assert len({tuple(sets) for _, _, sets in folds}) == 8
    with pytest.raises(ValueError, match="between 0 and 1"):
        monte_carlo_sets(strata, n_draws=1, test_fraction=1.0, val_fraction=0.2, seed=3)
    with pytest.raises(ValueError, match="one side of 2 patients empty"):
        monte_carlo_sets(one_class(2), n_draws=40, test_fraction=0.1, val_fraction=0.0, seed=0)


def test_repeats_differ_and_seeds_repeat():
    one = k_fold_sets(one_class(40), n_folds=4, n_repeats=2, val_fraction=0.0, seed=1)
    two = k_fold_sets(one_class(40), n_folds=4, n_repeats=2, val_fraction=0.0, seed=1)
    assert all((a[2] == b[2]).all() for a, b in zip(one, two, strict=True))
    assert (one[0][2] != one[4][2]).any()
    assert all("val" not in sets for _, _, sets in one)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="at least 2 folds"):
        k_fold_sets(one_class(5), n_folds=1, n_repeats=1, val_fraction=0.0, seed=0)
    with pytest.raises(ValueError, match="cannot fill 6"):
        k_fold_sets(one_class(5), n_folds=6, n_repeats=1, val_fraction=0.0, seed=0)
    with pytest.raises(ValueError, match=r"0 to 0\.5"):
        inner_validation(one_class(5), np.ones(5, dtype=bool), 0.7, np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least 1 part"):
        deal(np.zeros((5, 1), dtype=np.int64), 0, np.random.default_rng(0))


def test_given_sets_are_kept():
    given = ["train"] * 9 + ["test"] * 3
    ((_, _, sets),) = given_sets(one_class(12), given, val_fraction=0.2, seed=0)
    assert (sets[9:] == "test").all()
    assert set(sets[:9]) == {"train", "val"}
    ((_, _, sets),) = given_sets(one_class(12), [*given[:-1], "val"], val_fraction=0.2, seed=0)
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
    splits, record = make_splits(cohort, SplitConfig())
    write_splits(path, splits, record)
    read = read_splits(path)
    check_against_cohort(path, read, cohort)
    with pytest.raises(StudyError, match="the cohort but not the splits: p00"):
        check_against_cohort(path, read[read["patient_id"] != "p00"], cohort)
    double = splits.replace({"patient_id": {"p01": "p02"}})  # by hand: p02 in two parts, p01 in none
    faults = {
        "patient p02 stands twice in repeat 0, fold 0": double,
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
    moved = splits.copy()
    moved.loc[[0, 1], "set"] = ["val", "train"] if splits["set"][0] != "val" else ["train", "val"]
    moved.to_csv(path, index=False)
    with pytest.raises(StudyError, match=r"changed after it was made.*remove splits\.json"):
        read_splits(path)
    (study / "splits.json").unlink()
    assert len(read_splits(path)) == len(splits)
    with pytest.raises(StudyError, match=r"make_splits\.py"):
        read_splits(study / "none.csv")


@pytest.mark.parametrize("column", ["repeat", "fold"])
def test_v7_a_table_with_one_of_two_number_columns_broken_is_refused(study, column):
    path = study / "splits.csv"
    splits, _ = make_splits(read_cohort(study / "cohort.csv"), SplitConfig())
    for broken in ("one", 0.5):
        splits.assign(**{column: broken}).to_csv(path, index=False)
        with pytest.raises(StudyError, match="repeat and fold must be whole numbers"):
            read_splits(path)


def test_the_record_says_how_the_folds_were_made(study):
    assert main(["--study", str(study), "--repeats", "2"]) == 0
    record = json.loads((study / "splits" / "default.json").read_text())
    assert (record["method"], record["why"]) == (
        "k_fold", "sites cannot be kept whole: the table has no column site",
    )  # fmt: skip
    assert record["settings"]["repeats"] == 2
    assert record["n_patients"] == 30


def test_external_patients_are_tested_once_and_whole(study, capsys):
    table = pd.read_csv(study / "cohort.csv").assign(country=["DE", "NL", "NL"] * 10)
    table.to_csv(study / "cohort.csv", index=False)
    assert main(["--study", str(study), "--external", "country == 'DE'"]) == 0
    splits = read_splits(study / "splits" / "default.csv")
    tested = set(splits.loc[splits["set"] == "test", "patient_id"])
    assert tested == set(table.loc[table["country"] == "DE", "patient_id"])
    assert set(splits["fold"]) == {0}
    assert "val" in set(splits["set"])
    pd.concat([table, table.iloc[:1].assign(slide_id="extra", country="NL")]).to_csv(study / "cohort.csv", index=False)
    capsys.readouterr()
    for expression, message in {
        "country == 'DE'": "some slides of p00 only",
        "country == 'FR'": "holds for 0 of 30",
        "land == 'FR'": "does not fit",
    }.items():
        assert main(["--study", str(study), "--name", "x", "--external", expression]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert main(["--study", str(study), "--method", "external"]) == 2
    assert main(["--study", str(study), "--method", "k_fold", "--external", "country == 'DE'"]) == 2


def test_repeats_of_what_is_made_once_are_told(study, capsys):
    table = pd.read_csv(study / "cohort.csv")
    table.assign(set=["train"] * 20 + ["test"] * 10).to_csv(study / "cohort.csv", index=False)
    assert main(["--study", str(study), "--repeats", "3"]) == 0
    out = capsys.readouterr().out
    assert "method given: the table has a column set" in out
    assert "made once: there is nothing to deal anew for given" in out


def test_monte_carlo_from_the_script_says_who_is_never_tested(study, capsys):
    flags = ["--method", "monte_carlo", "--repeats", "3", "--test_fraction", "0.1", "--val_fraction", "0"]
    assert main(["--study", str(study), *flags]) == 0
    assert "of 30 patients are in no test part" in capsys.readouterr().out
    splits = read_splits(study / "splits" / "default.csv")
    assert splits[splits["set"] == "test"].groupby("repeat").size().tolist() == [3, 3, 3]
    assert set(splits["set"]) == {"train", "test"}
    assert main(["--study", str(study), "--name", "x", "--method", "monte_carlo", "--test_fraction", "0.001"]) == 2
    assert "another --test_fraction" in capsys.readouterr().err


def test_whom_an_expression_chose_is_checked_again(study, capsys):
    table = pd.read_csv(study / "cohort.csv").assign(country=["DE", "NL", "NL"] * 10, external=[1] * 6 + [0] * 24)
    table.to_csv(study / "cohort.csv", index=False)
    assert main(["--study", str(study), "--external", "external"]) == 2  # numbers are no yes or no
    assert "is not true or false" in capsys.readouterr().err
    for number, flags in enumerate((["--external", "country == 'DE'"], ["--method", "given"])):
        table.assign(set=["train"] * 20 + ["test"] * 10).to_csv(study / "cohort.csv", index=False)
        name = f"s{number}"
        assert main(["--study", str(study), "--name", name, *flags]) == 0
        path, cohort = study / "splits" / f"{name}.csv", read_cohort(study / "cohort.csv")
        check_against_cohort(path, read_splits(path), cohort)
        changed = table.assign(set=["train"] * 19 + ["test"] * 11, country=["NL", "NL", "DE"] + ["DE", "NL", "NL"] * 9)
        changed.to_csv(study / "cohort.csv", index=False)
        with pytest.raises(StudyError, match="other patients are in the set test now"):
            check_against_cohort(path, read_splits(path), read_cohort(study / "cohort.csv"))
