"""Patients, copies, near copies and confounded sites are found, and honest cohorts are left in peace."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, fisher_exact
from scipy.stats.contingency import association

from mil.audit.leakage import (
    near_duplicates,
    one_patient_under_two_ids,
    patients_in_two_parts,
    shared_tiles,
    sharers,
    summarise,
    tile_hashes,
)
from mil.audit.site_confounding import (
    _fit_and_guess,
    chi_square,
    concentrated_classes,
    cramers_v,
    cross_table,
    permutation_p,
    predict_sites,
)


def slides(n=30, dim=40, seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"s{i:02d}": (rng.normal(size=dim) * 0.1 + rng.normal(size=(int(rng.integers(30, 90)), dim))).astype(np.float16)
        for i in range(n)
    }


def found_pairs(bags):
    summaries = {name: summarise(tiles) for name, tiles in bags.items()}
    identical = [pair[:2] for pair in shared_tiles({name: each.sketch for name, each in summaries.items()})]
    return identical, [pair[:2] for pair in near_duplicates(summaries)]


def slow_shared(bags):
    """Every pair of slides, rows as sets."""
    found, names = [], sorted(bags)
    rows = {name: {row.tobytes() for row in tiles} for name, tiles in bags.items()}
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            smaller = min(len(rows[one]), len(rows[other]))
            count = len(rows[one] & rows[other])
            if count >= max(min(5, smaller), 0.1 * smaller):
                found.append((one, other))
    return found


def slow_near(bags):
    """Every pair of slides, dimension by dimension."""
    found, names = [], sorted(bags)
    tiles = {name: own.astype(np.float32).astype(np.float64) for name, own in bags.items()}
    variance = np.mean([own.var(axis=0) for own in tiles.values()], axis=0)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            a, b = tiles[one], tiles[other]
            difference = a.mean(axis=0) - b.mean(axis=0)
            ratio = np.mean(difference**2 / (variance * (1 / len(a) + 1 / len(b))))
            cosine = a.mean(axis=0) @ b.mean(axis=0) / np.linalg.norm(a.mean(axis=0)) / np.linalg.norm(b.mean(axis=0))
            if ratio < 0.05 or (cosine > 0.9999 and len(a) == len(b)):
                found.append((one, other))
    return found


@pytest.mark.parametrize("seed", range(3))
def test_different_slides_are_not_taken_for_copies(seed):
    assert found_pairs(slides(seed=seed)) == ([], [])


@pytest.mark.parametrize(
    ("change", "is_identical"),
    [
        (lambda tiles, rng: tiles, True),
        (lambda tiles, rng: rng.permutation(tiles), True),
        (lambda tiles, rng: tiles[: len(tiles) // 2], True),
        (lambda tiles, rng: np.concatenate([tiles[:20], rng.normal(size=(40, tiles.shape[1]))]).astype(np.float16), True),
        (lambda tiles, rng: (tiles + 0.05 * rng.normal(size=tiles.shape)).astype(np.float16), False),
        (lambda tiles, rng: (tiles * 1.001).astype(np.float16), False),
    ],
)  # fmt: skip
def test_copies_of_every_kind_are_found_as_the_slow_twin_finds_them(change, is_identical):
    bags = slides()
    bags["z"] = change(bags["s07"], np.random.default_rng(1))
    identical, near = found_pairs(bags)
    assert identical == slow_shared(bags) == ([("s07", "z")] if is_identical else [])
    assert near == slow_near(bags)
    if not is_identical:
        assert near == [("s07", "z")]


def test_tiles_of_glass_in_many_slides_are_no_copy():
    bags = slides(n=40)
    blank = np.zeros((12, 40), dtype=np.float16)
    blanked = {name: np.concatenate([tiles, blank]) for name, tiles in bags.items()}
    assert found_pairs(blanked) == ([], [])


def test_large_slides_are_compared_by_a_sketch_that_keeps_what_they_share():
    rng = np.random.default_rng(3)
    one, two = (rng.normal(size=(4000, 24)).astype(np.float16) for _ in range(2))
    mixed = np.concatenate([one[:1500], two[:1500]])
    identical, _ = found_pairs({"one": one, "two": two, "mixed": mixed})
    assert identical == [("mixed", "one"), ("mixed", "two")]


def test_hashes_are_equal_for_equal_rows_only():
    rng = np.random.default_rng(0)
    tiles = rng.normal(size=(20_000, 8)).astype(np.float16)
    assert len(np.unique(tile_hashes(tiles))) == len(np.unique(tiles, axis=0))
    assert (tile_hashes(tiles[5:9]) == tile_hashes(tiles)[5:9]).all()


def test_patients_and_ids():
    assert patients_in_two_parts({"train": ["a", "b"], "val": ["c", "c"], "test": ["b"]}) == ["b"]
    assert sharers({"x": "1", "y": "2", "z": "1"}) == [["x", "z"]]
    found = one_patient_under_two_ids(
        {
            "P1": ["TCGA-DX-A1KW-01Z-00-DX1.AB"],
            "P2": ["TCGA-DX-A1KW-01Z-00-DX2.CD"],
            "p_3": ["u"],
            "P-3": ["v"],
            "P3": [],
        }
    )
    assert found == [
        ("P-3", "p_3", "ids that differ in case or separators only"),
        ("P1", "P2", "one TCGA barcode (TCGA-DX-A1KW)"),
    ]
    assert one_patient_under_two_ids({"P1-1": ["a-1"], "P11": ["a1-"], "TCGA-DX-A1KW": ["TCGA-DX-A1KW-01Z"]}) == []


tables = st.tuples(st.integers(2, 5), st.integers(2, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(1, 30), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    ).map(np.array)
)


@given(tables)
@example(np.array([[12, 20], [16, 16]]))  # whose corrected phi squared is 0
@settings(max_examples=50, deadline=None)
def test_chi_square_and_v_equal_scipy_but_for_the_correction(table):
    assert chi_square(table) == pytest.approx(chi2_contingency(table, correction=False).statistic)
    n, (r, c) = table.sum(), table.shape
    biased = association(table, method="cramer")
    phi2 = biased**2 * min(r - 1, c - 1)
    corrected = max(0, phi2 - (r - 1) * (c - 1) / (n - 1))
    rows, columns = r - (r - 1) ** 2 / (n - 1), c - (c - 1) ** 2 / (n - 1)
    # the squares: near 0 the root makes of rounding in the sixteenth digit one in the eighth
    assert cramers_v(table) ** 2 == pytest.approx(min(1, corrected / min(rows - 1, columns - 1)))


def test_v_of_independent_codes_has_hardly_a_bias_where_the_plain_one_has():
    rng = np.random.default_rng(0)
    found, plain = [], []
    for _ in range(200):
        table = cross_table(rng.integers(0, 8, 120), rng.integers(0, 5, 120))
        found.append(cramers_v(table))
        plain.append(association(table, method="cramer"))
    assert np.mean(found) < 0.07
    assert np.mean(plain) > 0.2
    assert cramers_v(np.diag([20, 30, 10])) == pytest.approx(1)
    assert cramers_v(np.array([[3, 4]])) is None


def test_the_permutation_p_is_that_of_scipy():
    rng = np.random.default_rng(1)
    for lean in (0.0, 0.15, 0.3):
        sites = rng.integers(0, 4, 150)
        classes = np.where(rng.random(150) < lean, sites % 3, rng.integers(0, 3, 150))
        table = cross_table(sites, classes)
        wanted = chi2_contingency(table, correction=False).pvalue
        assert permutation_p(table, np.random.default_rng(2)) == pytest.approx(wanted, abs=0.03)
    assert permutation_p(np.array([[3, 4]]), rng) == 1.0


def test_tcga_sarcoma_is_confounded_at_one_site(shared_data):
    listed = pd.read_csv(shared_data / "tables" / "tcga_sarc_dx_slides_566.csv").drop_duplicates("case_id")
    listed = listed[listed["subtype"].isin(("LMS", "DDLPS", "UPS", "MFS", "SS"))]
    names, sites = np.unique(listed["source_site"], return_inverse=True)
    classes, codes = np.unique(listed["subtype"], return_inverse=True)
    table = cross_table(sites, codes)
    found = {(names[site], classes[name], int(table[site, name])) for site, name in concentrated_classes(table)}
    assert found == {("Memorial Sloan Kettering", "MFS", 19), ("Memorial Sloan Kettering", "DDLPS", 41)}
    at = names.tolist().index("Memorial Sloan Kettering")
    for name in ("MFS", "DDLPS"):  # Fisher's exact test agrees that chance did not do it
        code, of_site = classes.tolist().index(name), table[at].sum()
        inside, of_class = table[at, code], table[:, code].sum()
        rest = table.sum() - of_site - of_class + inside
        square = [[inside, of_site - inside], [of_class - inside, rest]]
        assert fisher_exact(square, alternative="greater").pvalue < 0.01
    assert 0.1 < cramers_v(table) < association(table, method="cramer")
    large = table[table.sum(axis=1) >= 5]  # single patients of many small sites only blur the statistic
    assert permutation_p(large, np.random.default_rng(0)) < 0.05


def halves(n, rng, k=4):
    fold = rng.permutation(n) % k
    return [(fold != each, fold == each) for each in range(k)]


def test_sites_are_predicted_where_embeddings_tell_them_and_at_chance_where_not():
    rng = np.random.default_rng(0)
    sites, noise = np.repeat([0, 1, 2, 3], [40, 30, 20, 3]), rng.normal(size=(93, 50))
    told = predict_sites(noise + 3 * np.eye(4, 50)[sites], sites, halves(93, rng), rng)
    assert told.low > 0.6
    assert (told.n_sites, told.n_patients, told.chance) == (3, 90, pytest.approx(1 / 3))
    is_inside = []
    for seed in range(20):
        rng = np.random.default_rng([seed, 1])
        found = predict_sites(rng.normal(size=(93, 50)), sites, halves(93, rng), rng)
        is_inside.append(found.low <= found.chance <= found.high)
    assert sum(is_inside) >= 16
    assert predict_sites(noise, np.zeros(93, dtype=np.int64), halves(93, rng), rng) is None
    few = np.repeat([0, 1, 2], [5, 5, 4])  # five of a site are enough, four are not
    found = predict_sites(
        noise[:14], few, [(np.arange(14) % 2 == part, np.arange(14) % 2 != part) for part in (0, 1)], rng
    )
    assert (found.n_sites, found.n_patients) == (2, 10)


def test_the_site_prediction_never_sees_its_test_patients():
    """Other embeddings of one test patient change that patient's guess alone."""
    rng = np.random.default_rng(5)
    sites = np.repeat([0, 1], 30)
    means = rng.normal(size=(60, 10)) + np.eye(2, 10)[sites]
    is_test = np.arange(60) % 3 == 0
    other = means.copy()
    other[0] = 1e4
    one, two = (_fit_and_guess(each[~is_test], sites[~is_test], each[is_test]) for each in (means, other))
    assert len(set(one)) == 2
    assert (one[1:] == two[1:]).all()


def test_t3_ids_that_differ_by_leading_zeros_alone_may_be_one_patient():
    slides = {"7": ["a"], "007": ["b"], "P010": ["c"], "P10": ["d"], "P100": ["e"], "0": ["f"], "70": ["g"]}
    reason = "ids that differ in leading zeros only"
    assert one_patient_under_two_ids(slides) == [("007", "7", reason), ("P010", "P10", reason)]
