"""Sites stay whole, the assignment is the best there is, the bound is below it, and what cannot be spread is named."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.cohort import read_cohort
from common.failures import StudyError
from splits.make_splits import main
from splits.site_folds import SiteAssignment, _Search, assign_sites, best_bound, inner_sites
from splits.site_methods import site_obstacle
from splits.site_programme import Bound, counting_bound, programme_bound, site_cost
from splits.split_methods import make_splits
from splits.split_settings import SplitConfig
from splits.split_store import check_against_cohort, read_splits, write_splits
from tests.reference.slow_folds import slow_absences, slow_best_assignment, slow_site_cost

small_counts = st.integers(1, 3).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 9), min_size=n, max_size=n).filter(any), min_size=3, max_size=7)
)
FIVE = ("LMS", "DDLPS", "UPS", "MFS", "SS")


@given(small_counts.map(np.array), st.integers(2, 3), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_small_cohorts_get_the_best_of_all_assignments(counts, n_folds, seed):
    found = assign_sites(counts, n_folds, np.random.default_rng(seed))
    absences, cost = slow_best_assignment(counts.tolist(), n_folds)
    assert slow_absences(counts.tolist(), found.fold_of_site.tolist(), n_folds) == absences
    assert found.cost == cost == slow_site_cost(counts.tolist(), found.fold_of_site.tolist(), n_folds)
    assert counting_bound(counts, n_folds) <= found.bound <= found.cost
    if found.bound_source == "solved":
        assert found.gap == 0


@given(small_counts.map(np.array), st.integers(2, 3), st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_the_search_finds_the_best_without_the_programme(counts, n_folds, seed):
    nothing = Bound(value=0, source="counting", fold_of_site=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("splits.site_folds.KICKS", 100)  # enough for so few sites
        found = assign_sites(counts, n_folds, np.random.default_rng(seed), bound=nothing)
    absences, cost = slow_best_assignment(counts.tolist(), n_folds)
    assert slow_absences(counts.tolist(), found.fold_of_site.tolist(), n_folds) == absences
    assert found.cost == cost


@given(small_counts.map(np.array), st.integers(2, 3))
@settings(max_examples=15, deadline=None)
def test_the_programme_alone_is_the_quadratic_one(counts, n_folds):
    """Without rules on classes, against all assignments in which no fold is empty."""
    nothing = np.empty(0, dtype=np.int64)
    found = programme_bound(counts, n_folds, everywhere=nothing, apart=nothing)
    every = itertools.product(range(n_folds), repeat=len(counts))
    best = min(slow_site_cost(counts.tolist(), each, n_folds) for each in every if len(set(each)) == n_folds)
    assert found.source == "solved"
    assert found.value == best


@pytest.mark.parametrize(
    ("sites", "folds"),
    [
        ((7, 1, 1, 1), (7, 2, 1)),
        ((7, 2, 2), (7, 2, 2)),
        ((3, 3, 2, 2), (4, 3, 3)),
        ((4, 3, 2, 2), (4, 4, 3)),
        ((), (0, 0, 0)),
    ],
)
def test_the_bound_by_counting_shares_out_what_the_largest_site_leaves(sites, folds):
    counts = np.array(sites, dtype=np.int64).reshape(-1, 1)
    assert counting_bound(counts, 3) == site_cost(np.array(folds)[:, None], np.array([sum(sites)]))


def test_a_class_at_fewer_sites_than_folds_has_them_apart_in_the_programme():
    counts, nothing = np.array([[3, 1], [3, 1], [6, 0], [6, 0]]), np.empty(0, dtype=np.int64)
    every = [each for each in itertools.product(range(3), repeat=4) if len(set(each)) == 3]
    values = {each: slow_site_cost(counts.tolist(), each, 3) for each in every}
    found = programme_bound(counts, 3, everywhere=nothing, apart=np.array([1]))
    assert found.source == "solved"
    assert found.value == min(value for each, value in values.items() if each[0] != each[1]) > min(values.values())
    assert found.fold_of_site[0] != found.fold_of_site[1]


@given(
    st.integers(6, 25).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 12)] * 3).filter(any), min_size=n, max_size=n)),
    st.floats(0.1, 0.4),
    st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_inner_sites_are_sound(rows, fraction, seed):
    counts = np.array(rows)
    chosen = inner_sites(counts, fraction, np.random.default_rng(seed))
    if chosen is not None:
        inside, total = counts[chosen].sum(axis=0), counts.sum(axis=0)
        assert 0.5 * fraction * total.sum() <= inside.sum() <= 1.5 * fraction * total.sum()
        assert (inside <= total // 2).all()


def test_classes_that_cannot_all_be_everywhere_still_get_the_best_and_a_bound():
    counts = np.array([[3, 0, 2], [4, 5, 0], [0, 6, 7]])  # three classes, each at two of three sites; two folds
    everywhere, nothing = np.arange(3), np.empty(0, dtype=np.int64)
    assert programme_bound(counts, 2, everywhere=everywhere, apart=nothing).source == "impossible"
    found = assign_sites(counts, 2, np.random.default_rng(0))
    assert (slow_absences(counts.tolist(), found.fold_of_site.tolist(), 2), found.cost) == slow_best_assignment(
        counts.tolist(), 2
    )
    assert 0 < found.bound <= found.cost


def test_a_solver_that_runs_out_of_time_changes_no_fold(monkeypatch):
    rng = np.random.default_rng(5)
    monkeypatch.setattr("splits.site_folds.KICKS", 300)
    counts = rng.poisson(rng.gamma(0.5, 6, size=(40, 1)) * np.array([[0.5, 0.3, 0.2, 0.4]])).astype(np.int64)
    counts = counts[counts.sum(axis=1) > 0]
    solved = assign_sites(counts, 5, np.random.default_rng(0))
    monkeypatch.setattr("splits.site_programme.SECONDS_LIMIT", 1e-4)
    hurried = assign_sites(counts, 5, np.random.default_rng(0))
    assert (solved.bound_source, hurried.bound_source) == ("solved", "counting")
    assert (solved.fold_of_site == hurried.fold_of_site).all()
    assert hurried.bound <= solved.bound <= solved.cost == hurried.cost


def test_too_few_sites_are_refused():
    with pytest.raises(ValueError, match="2 sites cannot fill 3 folds"):
        assign_sites(np.ones((2, 1), dtype=np.int64), 3, np.random.default_rng(0))


def site_table(n_sites=12, n_patients=120, seed=0, n_classes=3):
    """Patients of unequal sites; class 0 prefers the first site."""
    rng = np.random.default_rng(seed)
    site = np.minimum(rng.geometric(0.2, n_patients) - 1, n_sites - 1)
    site[:n_sites] = np.arange(n_sites)
    subtype = np.where(rng.random(n_patients) < 0.3, site % n_classes, rng.integers(0, n_classes, n_patients))
    return pd.DataFrame(
        {
            "patient_id": [f"p{i:03d}" for i in range(n_patients)],
            "slide_id": [f"s{i:03d}" for i in range(n_patients)],
            "subtype": [f"C{code}" for code in subtype],
            "time": np.round(rng.exponential(30, n_patients), 1),
            "event": rng.integers(0, 2, n_patients),
            "site": [f"H{code:02d}" for code in site],
        }
    )


def make(folder, table, *flags):
    folder.mkdir(exist_ok=True, parents=True)
    table.to_csv(folder / "cohort.csv", index=False)
    code = main(["--study", str(folder), *flags])
    path = folder / "splits" / "default.csv"
    return code, path


@given(
    st.integers(0, 10_000),
    st.integers(6, 15),
    st.integers(2, 5),
    st.sampled_from(["site_preserved", "leave_one_site_out"]),
)
@settings(max_examples=6, deadline=None)
def test_for_any_cohort_sites_are_whole_and_row_order_and_reruns_change_nothing(
    tmp_path_factory, seed, n_sites, n_folds, method
):
    table = site_table(n_sites=n_sites, n_patients=60, seed=seed)
    config = SplitConfig(folds=n_folds, seed=seed % 7, method=method)
    folder = tmp_path_factory.mktemp("cohort")
    contents = []
    for order in (table, table.sample(frac=1, random_state=seed)):
        order.to_csv(folder / "cohort.csv", index=False)
        cohort, path = read_cohort(folder / "cohort.csv"), folder / "splits.csv"
        write_splits(path, *make_splits(cohort, config))
        contents.append((path.read_bytes(), path.with_suffix(".json").read_bytes()))
    assert contents[0] == contents[1]
    splits = read_splits(path)
    check_against_cohort(path, splits, cohort)
    joined = splits.join(cohort.patients["site"], on="patient_id")
    assert (splits[splits["set"] == "test"].groupby("patient_id").size() == 1).all()
    assert splits["patient_id"].nunique() == 60
    assert (joined[joined["set"] == "test"].groupby("site")["fold"].nunique() == 1).all()
    inner = json.loads(path.with_suffix(".json").read_text())["inner_validation"]
    for fold, rows in joined[joined["set"] != "test"].groupby("fold"):
        if [0, fold] not in inner["by_patient_in"]:
            assert (rows.groupby("site")["set"].nunique() == 1).all()


def test_auto_keeps_sites_where_it_can_and_says_why(tmp_path, capsys):
    table = site_table()
    code, path = make(tmp_path / "a", table)
    out = capsys.readouterr().out
    assert code == 0
    assert "method site_preserved: sites are known, and 12 of them can fill 5 folds" in out
    assert "12 sites kept whole" in out
    assert "gap 0.00 %" in out
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sites"]["gap"] == 0
    assert record["sites"]["bound"] == record["sites"]["objective"][0]
    one_site = table.assign(subtype=table["subtype"].where(table["site"] != "H00", "RARE"))
    cases = {
        "no column site": table.drop(columns="site"),
        "1 patient(s) have no site: p007": table.assign(site=table["site"].where(table["patient_id"] != "p007")),
        "3 site(s) cannot fill 5 folds": table.assign(site=table["site"].map(lambda name: f"H{int(name[1:]) % 3}")),
        "RARE lives at 1 site(s): H00": one_site,  # its number of patients follows
    }
    for number, (message, changed) in enumerate(cases.items()):
        code, path = make(tmp_path / str(number), changed)
        assert code == 0
        assert f"method k_fold: sites cannot be kept whole: {message}" in capsys.readouterr().out.replace(
            "the table has ", ""
        )
        assert json.loads(path.with_suffix(".json").read_text())["method"] == "k_fold"


@pytest.mark.parametrize(("n_patients", "left"), [(3, 2), (4, 3)])
def test_a_class_with_too_few_patients_is_named_even_where_each_is_at_a_site_of_its_own(n_patients, left):
    patients = pd.DataFrame({"subtype": "SS", "site": list("ABCD"[:n_patients])}, index=list("pqrs"[:n_patients]))
    said = site_obstacle(patients, 2)
    assert said is None if left == 3 else f"without the largest, {left} patient(s) are left to train on" in said


@pytest.mark.parametrize("n_sites", [10, 11])
def test_ten_sites_of_a_class_are_named_and_dots_stand_for_the_others(n_sites, monkeypatch):
    monkeypatch.setattr("splits.site_methods.MIN_LEFT", 99)  # too few are left of any class
    sites = [f"H{number:02d}" for number in range(n_sites)]
    patients = pd.DataFrame({"subtype": "SS", "site": sites}, index=[f"p{site}" for site in sites])
    named = ", ".join(f"{site} (1)" for site in sites[:10]) + (" ..." if n_sites > 10 else "")
    left = f"without the largest, {n_sites - 1} patient(s) are left to train on"
    assert site_obstacle(patients, 2) == f"SS lives at {n_sites} site(s): {named}; {left}"


@pytest.mark.parametrize("n_unknown", [5, 6])
def test_five_patients_without_site_are_named_and_dots_stand_for_the_others(n_unknown):
    names = [f"p{number}" for number in range(8)]
    site = [None] * n_unknown + ["A"] * (8 - n_unknown)
    patients = pd.DataFrame({"subtype": "SS", "site": site}, index=names).iloc[::-1]
    dots = " ..." if n_unknown > 5 else ""
    assert site_obstacle(patients, 2) == f"{n_unknown} patient(s) have no site: p0, p1, p2, p3, p4{dots}"


def test_a_class_at_one_site_is_named_with_its_folds(tmp_path, capsys):
    table = site_table()
    table["subtype"] = table["subtype"].where(table["site"] != "H00", "RARE")
    for method in ("site_preserved", "leave_one_site_out"):
        code, path = make(tmp_path / method, table, "--method", method)
        assert code == 0
        out = capsys.readouterr().out
        assert "RARE lives at 1 site(s): H00" in out
        assert "has none to train on" in out
        (rare,) = json.loads(path.with_suffix(".json").read_text())["classes_at_few_sites"]
        ((_, fold),) = rare["folds_without_training"]
        splits = read_splits(path)
        everyone = set(table.loc[table["subtype"] == "RARE", "patient_id"])
        tested = splits[(splits["fold"] == fold) & (splits["set"] == "test")]
        assert everyone <= set(tested["patient_id"])


def test_sites_that_changed_since_are_noticed_and_named(tmp_path):
    table = site_table()
    _, path = make(tmp_path, table)
    splits = read_splits(path)
    tested = splits[splits["set"] == "test"].set_index("patient_id")["fold"]
    one, other = tested.index[tested == 0][0], tested.index[tested == 1][0]
    site = table.set_index("patient_id")["site"]
    table.loc[table["patient_id"] == other, "site"] = site[one]
    table.to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(StudyError, match=f"site {site[one]} is tested in 2 folds.*{other} in fold 1"):
        check_against_cohort(path, splits, read_cohort(tmp_path / "cohort.csv"))
    table.drop(columns="site").to_csv(tmp_path / "cohort.csv", index=False)
    with pytest.raises(StudyError, match="no column site"):
        check_against_cohort(path, splits, read_cohort(tmp_path / "cohort.csv"))


def test_faults_of_sites_are_named(tmp_path, capsys):
    table = site_table()
    for method, changed, message in (
        ("site_preserved", table.drop(columns="site"), "no column site"),
        ("site_preserved", table.assign(site="A"), "1 site(s) cannot fill 5 folds"),
        ("leave_one_site_out", table.assign(site="A"), "all patients are of one site, A"),
    ):
        assert make(tmp_path / method, changed, "--method", method)[0] == 2
        assert message in " ".join(capsys.readouterr().err.split())


def tcga_sarc(shared_data, subtypes=FIVE):
    table = pd.read_csv(shared_data / "tables" / "tcga_sarc_cdr_261.csv")
    return table[table["subtype"].isin(subtypes)].sort_values("bcr_patient_barcode")


def test_tcga_sarcoma_beats_random_and_greedy_and_is_proven_best(shared_data):
    table = tcga_sarc(shared_data)
    counts = pd.crosstab(table["tss"], table["subtype"]).to_numpy().astype(np.int64)
    bound = best_bound(counts, 5)
    found = assign_sites(counts, 5, np.random.default_rng(0), bound=bound)
    rng, totals = np.random.default_rng(1), counts.sum(axis=0)
    random = []
    for _ in range(2000):
        inside = np.zeros((5, counts.shape[1]), dtype=np.int64)
        np.add.at(inside, rng.integers(0, 5, len(counts)), counts)
        random.append(site_cost(inside, totals))
    assert found.cost <= min(random)
    assert bound.source == "solved"
    assert found.gap == 0
    assert slow_absences(counts.tolist(), found.fold_of_site.tolist(), 5) == 0
    for seed in range(1, 4):  # the search does not hang on its seed
        assert assign_sites(counts, 5, np.random.default_rng(seed), bound=bound).cost == found.cost


@given(small_counts.map(np.array), st.integers(2, 4), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_v6_a_change_is_the_difference_of_two_values(counts, n_folds, seed):
    search, n_sites = _Search(counts, n_folds), len(counts)
    fold_of_site = np.random.default_rng(seed).integers(n_folds, size=n_sites)
    moves, exchanges = search.changes(fold_of_site)
    before = search.value(fold_of_site)
    for site in range(n_sites):
        for fold in range(n_folds):
            moved = fold_of_site.copy()
            moved[site] = fold
            assert moves[site, fold] == search.value(moved) - before
        for other in range(n_sites):
            exchanged = fold_of_site.copy()
            exchanged[[site, other]] = exchanged[[other, site]]
            assert exchanges[site, other] == search.value(exchanged) - before


def test_folds_are_numbered_by_size_and_then_by_their_first_site():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        assert assign_sites(np.array([[5], [5], [5]]), 3, rng).fold_of_site.tolist() == [0, 1, 2]
        assert assign_sites(np.array([[2], [9], [9], [4]]), 4, rng).fold_of_site.tolist() == [3, 0, 1, 2]
    nothing = Bound(value=0, source="counting", fold_of_site=None)
    pairs = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]])
    for seed in range(4):
        found = assign_sites(pairs, 2, np.random.default_rng(seed), bound=nothing).fold_of_site.tolist()
        assert found[0] == 0
        assert found[0] != found[1]
        assert found[2] != found[3]


def test_as_many_sites_as_folds_are_a_fold_each():
    assert sorted(assign_sites(np.array([[3], [8]]), 2, np.random.default_rng(0)).fold_of_site) == [0, 1]
    with pytest.raises(ValueError, match="2 sites cannot fill 1 folds"):
        assign_sites(np.array([[3], [8]]), 1, np.random.default_rng(0))


def test_the_bound_knows_the_classes_that_live_at_fewer_sites_than_folds():
    counts, nothing = np.array([[3, 1], [3, 1], [6, 0], [6, 0]]), np.empty(0, dtype=np.int64)
    free = programme_bound(counts, 3, everywhere=nothing, apart=nothing)
    assert (
        best_bound(counts, 3).value == programme_bound(counts, 3, everywhere=np.array([0]), apart=np.array([1])).value
    )
    assert best_bound(counts, 3).value > free.value
    crowded = np.array([[9, 1], [1, 1], [1, 1], [9, 0]])  # the second class at three sites, in three folds: in each
    found = best_bound(crowded, 3)
    assert found.source == "solved"
    assert slow_absences(crowded.tolist(), found.fold_of_site.tolist(), 3) == 0
    one = best_bound(np.array([[4, 0], [4, 0], [4, 2]]), 3)  # at one site: neither everywhere nor apart
    assert (one.source, one.value) == ("solved", site_cost(np.array([[4, 0], [4, 0], [4, 2]]), np.array([12, 2])))


@pytest.mark.parametrize(("cost", "bound", "gap"), [(40, 30, 0.25), (40, 40, 0.0), (40, 50, 0.0), (0, 0, 0.0)])
def test_the_gap_is_the_share_that_could_be_saved(cost, bound, gap):
    found = SiteAssignment(fold_of_site=np.zeros(2, np.int64), cost=cost, bound=bound, bound_source="solved")
    assert found.gap == gap


def slow_inner_value(counts, chosen, fraction):
    """Return how far a choice is from the wanted shares; more than half of a category taken away is infinitely far."""
    value = 0.0
    for category in range(len(counts[0])):
        total = sum(site[category] for site in counts)
        inside = sum(site[category] for site, is_in in zip(counts, chosen, strict=True) if is_in)
        value += float("inf") if 2 * inside > total else (inside - fraction * total) ** 2
    return value


@given(
    st.integers(3, 9).flatmap(lambda n: st.lists(st.tuples(*[st.integers(0, 12)] * 2).filter(any), min_size=n, max_size=n)),
    st.sampled_from([0.1, 0.2, 0.3, 0.5]),
    st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_site_more_or_less_and_no_exchange_makes_inner_sites_better(rows, fraction, seed):
    chosen = inner_sites(np.array(rows), fraction, np.random.default_rng(seed))
    if chosen is None:
        return
    value = slow_inner_value(rows, chosen, fraction)
    for sites in (*itertools.combinations(range(len(rows)), 1), *itertools.combinations(range(len(rows)), 2)):
        if len({bool(chosen[site]) for site in sites}) == len(sites):  # one, or one out and one in
            other = chosen.copy()
            other[list(sites)] ^= True
            assert slow_inner_value(rows, other, fraction) >= value - 1e-5


@pytest.mark.parametrize(("sizes", "is_sound"), [((3, 17), True), ((2, 18), False), ((9, 11), False), ((6, 14), True)])
def test_an_inner_part_is_between_half_and_one_and_a_half_times_the_wanted(sizes, is_sound):
    """Of 20 patients at two sites a fifth is wanted: 2 to 6."""
    chosen = inner_sites(np.array(sizes)[:, None], 0.25, np.random.default_rng(0))
    assert (chosen is not None) == is_sound
    assert chosen is None or chosen.tolist() == [True, False]


def sited(folder, subtype, site, **columns):
    folder.mkdir(exist_ok=True, parents=True)
    names = [f"p{number:03d}" for number in range(len(site))]
    table = pd.DataFrame({"patient_id": names, "slide_id": names, "subtype": subtype, "site": site, **columns})
    table.to_csv(folder / "cohort.csv", index=False)
    return read_cohort(folder / "cohort.csv")


def folds_where(splits, members, sets):
    """Return the folds (repeat, fold) in which none of the members is in one of the sets."""
    return [
        [int(repeat), int(fold)]
        for (repeat, fold), rows in splits.groupby(["repeat", "fold"])
        if not (rows["patient_id"].isin(members) & rows["set"].isin(sets)).any()
    ]


@pytest.mark.parametrize("method", ["site_preserved", "leave_one_site_out"])
def test_the_record_names_the_folds_that_lack_a_class_to_test_or_to_train_on(tmp_path, method):
    sites = [f"H{number % 6}" for number in range(60)]
    subtype = [
        "RARE" if site == "H0" else "TWO" if site in ("H1", "H2") and at % 5 == 1 else "A"
        for at, site in enumerate(sites)
    ]
    cohort = sited(tmp_path, subtype, sites)
    splits, record = make_splits(cohort, SplitConfig(method=method, folds=3, repeats=2))
    few = {each["class"]: each for each in record["classes_at_few_sites"]}
    assert set(few) == ({"RARE", "TWO"} if method == "site_preserved" else {"RARE"})
    for name, each in few.items():
        members = set(cohort.patients.index[cohort.patients["subtype"] == name])
        assert each["folds_without_test"] == folds_where(splits, members, ["test"])
        assert each["folds_without_training"] == folds_where(splits, members, ["train", "val"])
        assert bool(each["folds_without_training"]) == (name == "RARE")
        (note,) = [note for note in record["notes"] if note.startswith(name)]
        assert f"; {len(each['folds_without_test'])} fold(s) test none of it" in note
        assert ("has none to train on" in note) == (name == "RARE")
    assert few["RARE"]["sites"] == {"H0": 10}
    if method == "site_preserved":
        assert len(record["sites"]["objective"]) == len(record["sites"]["fold_of_site"]) == 2
        assert record["sites"]["n"] == 6
    else:
        assert record["sites"] == {"n": 6, "fold_of_site": [{f"H{number}": number for number in range(6)}]}


@pytest.mark.parametrize(("largest", "is_named"), [(15, False), (16, True)])
def test_a_fold_of_more_than_one_and_a_half_times_its_share_is_named(tmp_path, largest, is_named):
    """30 patients in three folds: more than 15 in one."""
    sites = ["H0"] * largest + [f"H{1 + number % 4}" for number in range(30 - largest)]
    cohort = sited(tmp_path, "A", sites)
    _, record = make_splits(cohort, SplitConfig(method="site_preserved", folds=3))
    said = (
        f"repeat 0 fold 0 tests {largest} of 30 patients, since one site is that large: its model learns from "
        f"{30 - largest} only"
    )
    assert (said in record["notes"]) == is_named
    _, record = make_splits(cohort, SplitConfig(method="leave_one_site_out"))
    assert not any("that large" in note for note in record["notes"])


def test_inner_parts_are_of_whole_sites_or_by_patient_or_none_and_the_record_says_which(tmp_path):
    spread = sited(tmp_path / "a", "A", [f"H{number % 12:02d}" for number in range(60)])
    splits, record = make_splits(spread, SplitConfig(method="site_preserved", folds=3))
    assert record["inner_validation"] == {"by": "sites", "by_patient_in": []}
    assert record["notes"] == []
    parts = splits.join(spread.patients["site"], on="patient_id")
    assert (parts[parts["set"] != "test"].groupby(["fold", "site"])["set"].nunique() == 1).all()
    assert set(parts["set"]) == {"train", "val", "test"}
    splits, record = make_splits(spread, SplitConfig(method="site_preserved", folds=3, val_fraction=0))
    assert record["inner_validation"] == {"by": "none", "by_patient_in": []}
    assert set(splits["set"]) == {"train", "test"}
    few = sited(
        tmp_path / "b", "A", [f"H{number % 3}" for number in range(60)]
    )  # two sites are left: neither is a fifth
    for n_repeats in (3, 4):
        splits, record = make_splits(few, SplitConfig(method="site_preserved", folds=3, repeats=n_repeats))
        divided = [[repeat, fold] for repeat in range(n_repeats) for fold in range(3)]
        assert record["inner_validation"] == {"by": "patients", "by_patient_in": divided}
        named = ", ".join(f"repeat {r} fold {f}" for r, f in divided[:10]) + (" ..." if n_repeats == 4 else "")
        assert (
            f"no choice of whole sites makes a sound inner validation part; drawn by patient in {named}"
            in record["notes"]
        )
        assert (splits.groupby(["repeat", "fold"])["set"].nunique() == 3).all()
    sites = ["H0"] * 20 + [f"H{1 + number % 10:02d}" for number in range(40)]
    mixed = sited(tmp_path / "c", "A", sites)
    _, record = make_splits(mixed, SplitConfig(method="leave_one_site_out"))
    assert record["inner_validation"] == {"by": "sites", "by_patient_in": []}
    assert record["sites"]["n"] == 11


def test_two_sites_can_be_left_out_and_as_many_sites_as_folds_are_enough(tmp_path):
    cohort = sited(tmp_path, "A", ["x"] * 6 + ["y"] * 6)
    splits, _ = make_splits(cohort, SplitConfig(method="leave_one_site_out"))
    tested = splits[splits["set"] == "test"].groupby("fold")["patient_id"].agg(list)
    assert tested.tolist() == [[f"p{n:03d}" for n in range(6)], [f"p{n:03d}" for n in range(6, 12)]]
    assert make_splits(cohort, SplitConfig(method="site_preserved", folds=2))[1]["sites"]["n"] == 2
    with pytest.raises(StudyError, match=r"2 site\(s\) cannot fill 3 folds; use --folds 2, --method leave_one"):
        make_splits(cohort, SplitConfig(method="site_preserved", folds=3))
    alone = sited(tmp_path, "A", ["x"] * 12)
    with pytest.raises(StudyError, match=r"1 site\(s\) cannot fill 3 folds; use --folds 2, --method leave_one"):
        make_splits(alone, SplitConfig(method="site_preserved", folds=3))


def test_sites_are_told_of_fewer_patients_and_sites_than_needed():
    names = [f"p{number}" for number in range(9)]
    patients = pd.DataFrame({"subtype": "A", "site": list("xyzxyzxyz")}, index=names)
    assert site_obstacle(patients, 3) is None
    assert site_obstacle(patients, 4) == "3 site(s) cannot fill 4 folds"
    patients = pd.DataFrame({"subtype": ["B"] * 3 + ["A"] * 6, "site": list("xxyxyzxyz")}, index=names)
    assert site_obstacle(patients, 2) == (
        "B lives at 2 site(s): x (2), y (1); without the largest, 1 patient(s) are left to train on"
    )


def test_a_site_is_checked_repeat_by_repeat(tmp_path):
    cohort = sited(tmp_path, "A", [f"H{number % 6}" for number in range(24)])
    splits, record = make_splits(cohort, SplitConfig(method="site_preserved", folds=3, repeats=4))
    assert len({tuple(each.items()) for each in record["sites"]["fold_of_site"]}) > 1  # a site's fold differs by repeat
    path = tmp_path / "splits.csv"
    write_splits(path, splits, record)
    check_against_cohort(path, read_splits(path), cohort)


@given(small_counts.map(np.array), st.integers(2, 4), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_value_is_the_programmes_and_a_penalty_for_each_absence_that_need_not_be(counts, n_folds, seed):
    search, rows = _Search(counts, n_folds), counts.tolist()
    fold_of_site = np.random.default_rng(seed).integers(n_folds, size=len(counts))
    absences, cost = (of(rows, fold_of_site.tolist(), n_folds) for of in (slow_absences, slow_site_cost))
    assert search.value(fold_of_site) == cost + search.penalty * absences
    assert search.penalty > n_folds * sum((n_folds * total) ** 2 for total in counts.sum(axis=0).tolist())


@pytest.mark.parametrize(
    ("scale", "off", "is_kept"), [(300, 5e-7, True), (300, -5e-7, True), (1, 5e-7, True), (300, 5e-6, False)]
)
def test_what_the_solver_rounds_does_not_lift_the_bound(monkeypatch, scale, off, is_kept):
    """A bound a millionth too high, of its size or of 1, is the whole number below it."""
    import scipy.optimize

    counts, nothing = np.array([[3], [2], [2]]) * scale, np.empty(0, dtype=np.int64)
    own = scipy.optimize.milp
    wanted = programme_bound(counts, 2, everywhere=nothing, apart=nothing).value

    def rounded(*given, **named):
        found = own(*given, **named)
        found.mip_dual_bound = wanted + off * max(1, wanted)
        return found

    monkeypatch.setattr(scipy.optimize, "milp", rounded)
    value = programme_bound(counts, 2, everywhere=nothing, apart=nothing).value
    assert (value == wanted) == is_kept
