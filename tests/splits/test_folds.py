"""No patient on two sides, strata even, the same in any row order, and faults named."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import read_cohort
from common.failures import StudyError
from splits.cohort_strata import categories, strata_of
from splits.folds import Strata, deal, draw, given_sets, inner_validation, k_fold_sets, monte_carlo_sets, time_bins
from splits.make_splits import main
from splits.split_methods import choose_method, make_splits
from splits.split_settings import SplitConfig
from splits.split_store import check_against_cohort, cohort_sha256, read_splits, table_sha256, write_splits
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


def test_unknown_events_are_even_too_where_the_folds_are_not_of_one_size():
    """What is made even is each code's own count, not the count of all others: by that, these have folds two apart."""
    for seed in (10, 15, 28, 30):
        rng = np.random.default_rng(seed)
        rows = [(name, int(rng.integers(-1, 2)), 1.0) for name in range(4) for _ in range(int(rng.integers(5, 12)))]
        codes = np.array([row[:2] for row in rows])
        parts = deal(codes, 5, np.random.default_rng(seed))
        spread = 0
        for event in (-1, 0, 1):
            counts = [int(((codes[:, 1] == event) & (parts == part)).sum()) for part in range(5)]
            spread = max(spread, max(counts) - min(counts))
        assert spread <= 1, seed


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


@pytest.mark.parametrize("n_train", [1, 2, 3, 4])
def test_a_class_of_three_training_patients_shares_and_one_of_two_does_not(n_train):
    for seed in range(5):
        is_train = np.arange(8) < n_train  # half of three: one or two, never none
        is_val = inner_validation(one_class(8), is_train, 0.5, np.random.default_rng(seed))
        assert is_val.any() == (n_train >= 3)
        assert 2 * is_val.sum() in (n_train - 1, n_train, n_train + 1) or n_train < 3


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


def test_time_bins_know_no_bin_of_what_is_unknown_and_take_edges_from_events_of_the_reference():
    times = np.array([4.0, 8.0, 12.0, 16.0, 20.0, np.nan, 1.0, 13.0, 99.0, 1e9])
    events = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 1])
    reference = np.arange(10) < 9  # the last would move every edge
    assert time_bins(times, events, reference).tolist() == [0, 0, 1, 2, 3, -1, 0, 2, 3, 3]
    nobody = time_bins(times, np.zeros(10, dtype=np.int64), reference)
    assert nobody.tolist() == [0, 0, 0, 0, 0, -1, 0, 0, 0, 0]


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


def test_the_outermost_numbers_are_allowed():
    everyone = np.ones(6, dtype=bool)
    assert not inner_validation(one_class(6), everyone, 0.0, np.random.default_rng(0)).any()
    assert inner_validation(one_class(6), everyone, 0.5, np.random.default_rng(0)).sum() == 3
    assert len(k_fold_sets(one_class(2), n_folds=2, n_repeats=1, val_fraction=0.0, seed=0)) == 2
    assert deal(np.zeros((5, 1), dtype=np.int64), 1, np.random.default_rng(0)).tolist() == [0] * 5
    for fraction in (-0.1, 0.6):
        with pytest.raises(ValueError, match=f"0 to 0.5, got {fraction}"):
            inner_validation(one_class(5), np.ones(5, dtype=bool), fraction, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"between 0 and 1, got 0\.0"):
        monte_carlo_sets(one_class(5), n_draws=1, test_fraction=0.0, val_fraction=0.0, seed=0)


def test_strata_and_categories_are_coded_by_subtype_event_and_time():
    table = pd.DataFrame(
        {"subtype": ["b", "a", None, "b"], "event": [1, 0, 1, None], "time": [1.0, None, 3.0, 4.0]}, index=list("pqrs")
    )
    strata = strata_of(table)
    assert strata.classes.tolist() == [2, 1, 0, 2]
    assert strata.events.tolist() == [1, 0, 1, -1]
    assert np.array_equal(strata.times, [1, np.nan, 3, 4], equal_nan=True)
    masks = {name: mask.tolist() for name, mask in categories(table).items()}
    assert masks == {
        "a": [False, True, False, False],
        "b": [True, False, False, True],
        "no subtype": [False, False, True, False],
        "events": [True, False, True, False],
    }
    masks = {name: mask.tolist() for name, mask in categories(table[["event"]]).items()}
    assert masks == {"events": [True, False, True, False], "censored": [False, True, False, True]}
    assert list(categories(table.iloc[[0, 1, 3]][["subtype"]])) == ["a", "b"]
    assert {name: mask.tolist() for name, mask in categories(table[["time"]]).items()} == {"patients": [True] * 4}
    plain = strata_of(table[["time"]])
    assert (plain.classes.tolist(), plain.events.tolist()) == ([0] * 4, [-1] * 4)


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


def cohort_of(folder, table):
    table.to_csv(folder / "cohort.csv", index=False)
    return read_cohort(folder / "cohort.csv")


def test_classes_too_small_for_the_folds_are_counted_with_the_ways_out(study):
    table = pd.read_csv(study / "cohort.csv")
    assert make_splits(cohort_of(study, table), SplitConfig(folds=5))[1]["method"] == "k_fold"  # C has five
    way = "leave the class out (--where), unite it with another"
    cases = {
        f"fewer patients than the 11 folds in B (10), C (5); use --folds 5 or fewer, {way}, or use --stratify event": (
            table, 11,
        ),
        f"fewer patients than the 6 folds in C (5); use --folds 5 or fewer, {way[:29]}, or unite it with another": (
            table.drop(columns=["time", "event"]), 6,
        ),
        f"fewer patients than the 2 folds in C (1); {way}, or use --stratify event": (table.iloc[:26], 2),
        "30 patients cannot fill 31 folds; use fewer --folds": (table.drop(columns="subtype"), 31),
    }  # fmt: skip
    for message, (changed, folds) in cases.items():
        with pytest.raises(StudyError) as error:
            make_splits(cohort_of(study, changed), SplitConfig(folds=folds))
        assert message in str(error.value)
    many = table.drop(columns="subtype")
    assert make_splits(cohort_of(study, many), SplitConfig(folds=30, val_fraction=0))[0]["fold"].nunique() == 30
    two = table.iloc[:27]  # two of C, two folds
    assert make_splits(cohort_of(study, two), SplitConfig(folds=2))[1]["method"] == "k_fold"


def test_by_events_alone_classes_are_not_looked_at_and_events_must_be_there(study):
    table = pd.read_csv(study / "cohort.csv")
    table["subtype"] = [f"K{number}" for number in range(30)]
    made, _ = make_splits(cohort_of(study, table), SplitConfig(stratify="event"))
    events = made[made["set"] == "test"].merge(table, on="patient_id").groupby("fold")["event"].sum()
    assert events.tolist() == [3] * 5
    with pytest.raises(StudyError, match="--stratify event, and there is no column event; leave the option out"):
        make_splits(cohort_of(study, table.drop(columns=["time", "event"])), SplitConfig(stratify="event"))


def test_notes_say_what_was_made_once_or_without_validation_and_nothing_else(study):
    table = pd.read_csv(study / "cohort.csv")
    cohort = cohort_of(study, table.assign(set=["train"] * 20 + ["test"] * 10))
    assert make_splits(cohort, SplitConfig())[1]["notes"] == []
    once = "made once: there is nothing to deal anew for given"
    assert make_splits(cohort, SplitConfig(repeats=2))[1]["notes"] == [once]
    cohort = cohort_of(study, table)
    assert make_splits(cohort, SplitConfig(repeats=2))[1]["notes"] == []
    assert make_splits(cohort, SplitConfig(method="monte_carlo", repeats=60))[1]["notes"] == []
    _, record = make_splits(cohort, SplitConfig(method="monte_carlo", repeats=1, test_fraction=0.1, val_fraction=0))
    assert record["notes"] == ["27 of 30 patients are in no test part"]
    one_has_it = cohort_of(study, table.iloc[[0, 1, 15, 16, 17, 18, 19, 20]])  # two of A, six of B
    _, record = make_splits(one_has_it, SplitConfig(folds=2))
    assert record["notes"] == []
    (study / "study.yaml").write_text("unit: slide\n")
    twice = pd.concat([table, table.iloc[:2].assign(slide_id=["x", "y"], subtype=["C", "A"])])
    _, record = make_splits(cohort_of(study, twice), SplitConfig())
    assert record["notes"] == ["1 patient(s) have slides of several subtypes: each is dealt by the rarest of them"]


def test_a_column_of_sets_needs_someone_to_train_on(study):
    table = pd.read_csv(study / "cohort.csv")
    for changed in (table.assign(set=["val"] * 20 + ["test"] * 10), table):
        with pytest.raises(StudyError, match="no patient is in the set 'train'"):
            make_splits(cohort_of(study, changed), SplitConfig(method="given"))


def test_external_patients_may_not_be_all(study):
    cohort = read_cohort(study / "cohort.csv")
    for expression, count in (("event >= 0", 30), ("event > 1", 0)):
        with pytest.raises(StudyError, match=f"holds for {count} of 30 patients"):
            make_splits(cohort, SplitConfig(external=expression))


def test_the_method_is_chosen_by_what_the_table_and_the_options_name(study):
    table = pd.read_csv(study / "cohort.csv")
    given = table.assign(set=["train"] * 20 + ["test"] * 10)
    assert choose_method(cohort_of(study, given), SplitConfig(external="event == 1")) == (
        "external", "--external names the test patients: event == 1",
    )  # fmt: skip
    assert choose_method(cohort_of(study, given), SplitConfig()) == ("given", "the table has a column set")
    assert choose_method(cohort_of(study, given), SplitConfig(method="k_fold")) == ("k_fold", "asked for")
    for n_sites, proposal in ((1, ""), (2, "; --folds 2 would keep whole sites together")):
        sites = table.assign(site=[f"H{number // 2 % n_sites}" for number in range(30)]).iloc[:25]  # A and B
        why = f"sites cannot be kept whole: {n_sites} site(s) cannot fill 5 folds{proposal}"
        assert choose_method(cohort_of(study, sites), SplitConfig()) == ("k_fold", why)
    sites = table.assign(site=[f"H{number % 5}" for number in range(30)])
    why = "sites are known, and 5 of them can fill 5 folds"
    assert choose_method(cohort_of(study, sites), SplitConfig()) == ("site_preserved", why)


def write_given(path, rows):
    pd.DataFrame(rows, columns=["repeat", "fold", "patient_id", "set"]).to_csv(path, index=False)


def test_tables_are_read_and_written_by_repeat_fold_and_patient(tmp_path):
    rows = [(r, f, p, "test" if f == int(p[1]) % 2 else "train") for r in (0, 1) for f in (0, 1) for p in ("p1", "p2")]
    path = tmp_path / "s.csv"
    write_given(path, rows[::-1])
    assert list(read_splits(path).itertuples(index=False, name=None)) == rows
    write_splits(path, pd.DataFrame(rows[::-1], columns=["repeat", "fold", "patient_id", "set"]))
    assert path.read_text().splitlines()[1:] == [",".join(map(str, row)) for row in rows]
    assert not path.with_suffix(".json").exists()
    write_given(path, [])
    with pytest.raises(StudyError, match="there must be rows"):
        read_splits(path)
    write_given(path, [(0, 0, "p2", "test"), (0, 0, "p1", "test"), (0, 1, "p1", "dev"), (0, 1, "p2", "abc")])
    with pytest.raises(StudyError, match="found 'abc', 'dev'"):
        read_splits(path)
    write_given(path, [(0, 0, "p2", "test"), (0, 0, "p1", "test"), (0, 0, "p3", "test"), (0, 1, "p2", "train")])
    with pytest.raises(StudyError, match="patient p1 is missing from repeat 0, fold 1"):
        read_splits(path)
    write_given(path, [(r, f, p, "test") for r, f in ((0, 0), (1, 0), (1, 1)) for p in ("p1", "p2")])
    with pytest.raises(StudyError, match="patient p1 is tested twice in repeat 1"):
        read_splits(path)


@pytest.mark.parametrize("n_new", [10, 11])
def test_ten_patients_that_stand_in_one_table_only_are_named_in_order(study, n_new):
    cohort, path = read_cohort(study / "cohort.csv"), study / "splits.csv"
    splits, _ = make_splits(cohort, SplitConfig())
    new = pd.DataFrame({"repeat": 0, "fold": 0, "patient_id": [f"q{i:02d}" for i in range(n_new)][::-1], "set": "test"})
    named = ", ".join(f"q{i:02d}" for i in range(10)) + (" ..." if n_new > 10 else "") + ". Make"
    with pytest.raises(StudyError) as error:
        check_against_cohort(path, pd.concat([splits, new]), cohort)
    assert f"{n_new} patient(s) stand in the splits but not the cohort: {named}" in str(error.value)


def test_given_validation_patients_are_checked_only_where_the_table_names_them(study):
    table, path = pd.read_csv(study / "cohort.csv"), study / "splits.csv"
    sets = ["train"] * 20 + ["test"] * 10
    cohort = cohort_of(study, table.assign(set=sets))
    write_splits(path, *make_splits(cohort, SplitConfig()))
    check_against_cohort(path, read_splits(path), cohort)  # val was drawn
    named = cohort_of(study, table.assign(set=["val"] * 3 + sets[3:]))
    with pytest.raises(StudyError, match="in the set val now"):
        check_against_cohort(path, read_splits(path), named)
    write_splits(path, *make_splits(named, SplitConfig()))
    check_against_cohort(path, read_splits(path), named)
    moved = cohort_of(study, table.assign(set=["val"] * 4 + sets[4:]))
    with pytest.raises(StudyError, match=r"in the set val now than when it was made: 1 changed \(p03\)"):
        check_against_cohort(path, read_splits(path), moved)
    with pytest.raises(StudyError, match="no column set"):
        check_against_cohort(path, read_splits(path), cohort_of(study, table))


def test_another_event_time_or_site_changes_the_checksum_of_the_cohort(study):
    table = pd.read_csv(study / "cohort.csv").assign(site="A", age=3)
    seen = {cohort_sha256(cohort_of(study, table))}
    for column, value in (("subtype", "B"), ("event", 1), ("time", 99), ("site", "B")):
        changed = table.copy()
        changed.loc[0, column] = value
        seen.add(cohort_sha256(cohort_of(study, changed)))
    assert len(seen) == 5
    assert cohort_sha256(cohort_of(study, table.assign(age=4))) in seen


@pytest.mark.parametrize("settings", [{}, {"external": 3}])
def test_a_record_of_external_patients_names_whom_it_chose(study, settings):
    path = study / "splits.csv"
    splits, record = make_splits(read_cohort(study / "cohort.csv"), SplitConfig(external="event == 1"))
    write_splits(path, splits, record | {"settings": settings})
    with pytest.raises(StudyError, match=r"settings\.external is missing or no text"):
        read_splits(path)
    write_splits(path, splits, record | {"schema": "splits/0"})
    with pytest.raises(StudyError, match="not a record of format splits/1"):
        read_splits(path)


@pytest.mark.parametrize(
    ("wrong", "least"),
    [
        ({"folds": 1}, {"folds": 2}),
        ({"repeats": 0}, {"repeats": 1}),
        ({"val_fraction": -0.01}, {"val_fraction": 0}),
        ({"val_fraction": 0.51}, {"val_fraction": 0.5}),
        ({"test_fraction": 0}, {"test_fraction": 0.01}),
        ({"test_fraction": 1}, {"test_fraction": 0.99}),
        ({"seed": -1}, {"seed": 0}),
        ({"method": "external"}, {"method": "external", "external": "event == 1"}),
        ({"method": "given", "external": "event == 1"}, {"external": "event == 1"}),
    ],
)
def test_settings_out_of_range_are_refused_and_the_outermost_are_not(wrong, least):
    SplitConfig(**least)
    with pytest.raises(ValueError, match=r"^--"):
        SplitConfig(**wrong)


def test_a_table_is_the_same_in_any_order_of_its_rows_and_another_with_one_other_cell(study):
    path = study / "splits.csv"
    splits, record = make_splits(read_cohort(study / "cohort.csv"), SplitConfig())
    write_splits(path, splits, record)
    wanted, shuffled = read_splits(path), splits.sample(frac=1, random_state=0)
    shuffled.to_csv(path, index=False)
    assert read_splits(path).equals(wanted)
    assert table_sha256(shuffled) == table_sha256(splits)
    assert table_sha256(splits.assign(fold=splits["fold"].where(splits.index > 0, 7))) != table_sha256(splits)
