"""Time of the audit's checks on 1,000 patients with 2 slides each, at 30 sites, without the reading of features.

python benchmarks/audit_speed.py
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from mil.audit.checks import check_patients, nearly_copied_slides
from mil.audit.leakage import SlideSummary, summarise
from mil.audit.site_checks import Sites, check_site_by_class, check_site_from_embeddings, check_sites_across_folds
from splits.fold_plan import FoldPlan

N_PATIENTS, N_SITES, N_CLASSES, DIM, N_TILES = 1000, 30, 5, 1280, 2000


def main() -> None:
    rng = np.random.default_rng(0)
    ids = [f"p{number:04d}" for number in range(N_PATIENTS)]
    sites, classes = rng.integers(0, N_SITES, N_PATIENTS), rng.integers(0, N_CLASSES, N_PATIENTS)
    means = rng.normal(size=(N_PATIENTS, DIM)) + 0.3 * rng.normal(size=(N_SITES, DIM))[sites]
    fold_of = rng.permutation(N_PATIENTS) % 5
    folds = []
    for fold in range(5):
        sides = [tuple(np.array(ids)[(fold_of == fold) == side]) for side in (False, True)]
        folds.append(FoldPlan(repeat=0, fold=fold, train=sides[0], val=(), test=sides[1]))
    known = Sites(
        patients=ids, site_names=[f"H{n}" for n in range(N_SITES)], class_names=[f"C{n}" for n in range(N_CLASSES)],
        sites=sites, classes=classes, n_unknown=0,
    )  # fmt: skip
    tiles = rng.normal(size=(N_TILES, DIM)).astype(np.float16)
    summaries = {
        f"{patient}-{number}": SlideSummary(
            n_tiles=N_TILES, mean=rng.normal(size=DIM), variance=np.ones(DIM),
            sketch=np.unique(rng.integers(0, 2**63, 512, dtype=np.uint64)),
        )
        for patient in ids for number in range(2)
    }  # fmt: skip
    for name, work in {
        f"summary of one slide of {N_TILES} tiles": lambda: summarise(tiles),
        "patients and ids": lambda: check_patients(
            folds, {patient: [f"{patient}-0", f"{patient}-1"] for patient in ids}
        ),
        "near copies among 2,000 slides": lambda: nearly_copied_slides(summaries, []),
        "site by class": lambda: check_site_by_class(known, 0),
        "sites across folds": lambda: check_sites_across_folds(known, folds, is_confounded=True, seed=0),
        "site from embeddings": lambda: check_site_from_embeddings(known, means, folds, is_confounded=True, seed=0),
    }.items():
        wall, processor = [], []
        for _ in range(3):
            start = time.perf_counter(), time.process_time()
            work()
            wall.append(time.perf_counter() - start[0])
            processor.append(time.process_time() - start[1])
        print(f"{name:40s} {min(wall):7.3f} s, {min(processor):7.3f} s of processor time")


if __name__ == "__main__":
    main()
