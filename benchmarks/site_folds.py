"""Site-preserved folds of TCGA-SARC: value against random and greedy assignments, gap to the proven bound, time.

    python benchmarks/site_folds.py FOLDER

FOLDER holds tcga_sarc_cdr_261.csv (patients with TSS codes) and tcga_sarc_dx_slides_566.csv (slides with institutions). Set
OMP_NUM_THREADS=1 for one core.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path[0] = str(Path(__file__).resolve().parents[1])

from mil.audit.audit import audit_text
from mil.audit.site_checks import Sites, check_site_by_class, check_sites_across_folds
from splits.cohort_strata import categories
from splits.fold_plan import FoldPlan
from splits.site_folds import assign_sites, best_bound
from splits.site_programme import site_cost

FIVE = ("LMS", "DDLPS", "UPS", "MFS", "SS")
N_FOLDS, N_RANDOM = 5, 2000


def random_costs(counts: np.ndarray, n_draws: int, *, seed: int) -> np.ndarray:
    """Each site to a fold at random."""
    rng, costs = np.random.default_rng(seed), []
    for _ in range(n_draws):
        inside = np.zeros((N_FOLDS, counts.shape[1]), dtype=np.int64)
        np.add.at(inside, rng.integers(0, N_FOLDS, len(counts)), counts)
        costs.append(site_cost(inside, counts.sum(axis=0)))
    return np.array(costs)


def greedy_cost(counts: np.ndarray) -> int:
    """The largest site first, each to the fold where it costs least."""
    inside, totals = np.zeros((N_FOLDS, counts.shape[1]), dtype=np.int64), counts.sum(axis=0)
    for own in counts[np.argsort(-counts.sum(axis=1), kind="stable")]:
        costs = [site_cost(inside + own * (np.arange(N_FOLDS) == fold)[:, None], totals) for fold in range(N_FOLDS)]
        inside[int(np.argmin(costs))] += own
    return site_cost(inside, totals)


def compare(name: str, counts: np.ndarray) -> np.ndarray:
    start = time.process_time(), time.perf_counter()
    bound = best_bound(counts, N_FOLDS)
    middle = time.process_time()
    found = assign_sites(counts, N_FOLDS, np.random.default_rng(0), bound=bound)
    end = time.process_time(), time.perf_counter()
    random = random_costs(counts, N_RANDOM, seed=1)
    print(
        f"{name}: {len(counts)} sites, value {found.cost}, bound {found.bound} ({found.bound_source}), gap "
        f"{100 * found.gap:.2f} %; best of {N_RANDOM} random {random.min()} (median {np.median(random):.0f}), greedy "
        f"{greedy_cost(counts)}; {middle - start[0]:.2f} s programme + {end[0] - middle:.2f} s search of processor time, "
        f"{end[1] - start[1]:.2f} s in all"
    )
    return found.fold_of_site


def main(folder: Path) -> None:
    patients = pd.read_csv(folder / "tcga_sarc_cdr_261.csv").rename(columns={"OS": "event", "tss": "site"})
    slides = pd.read_csv(folder / "tcga_sarc_dx_slides_566.csv").rename(columns={"source_site": "site"})
    five = patients[patients["subtype"].isin(FIVE)]
    listed = slides[slides["subtype"].isin(FIVE)].drop_duplicates("case_id")
    for name, table in {
        "five subtypes, TSS codes": five.drop(columns="event"),
        "five subtypes and events": five,
        "seven subtypes": patients.drop(columns="event"),
        "five subtypes, institutions": listed,
    }.items():
        _, sites = np.unique(table["site"], return_inverse=True)
        masks = categories(table).values()
        fold_of_site = compare(
            name, np.stack([np.bincount(sites[m], minlength=sites.max() + 1) for m in masks], axis=1)
        )
    names, sites = np.unique(listed["site"], return_inverse=True)
    classes, codes = np.unique(listed["subtype"], return_inverse=True)
    ids = listed["case_id"].tolist()
    known = Sites(
        patients=ids, site_names=names.tolist(), class_names=classes.tolist(), sites=sites, classes=codes, n_unknown=0
    )
    folds = []
    for fold in range(N_FOLDS):
        sides = [tuple(np.array(ids)[(fold_of_site[sites] == fold) == side]) for side in (False, True)]
        folds.append(FoldPlan(repeat=0, fold=fold, train=sides[0], val=(), test=sides[1]))
    by_class = check_site_by_class(known, 0)
    across = check_sites_across_folds(known, folds, is_confounded=True, seed=0)
    print(audit_text({"checks": [by_class, across]}, in_full=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
