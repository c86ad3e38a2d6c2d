"""A study that begins at the features: small bags whose tiles tell subtype and hazard, or, shuffled, tell nothing."""

from pathlib import Path

import numpy as np
import pandas as pd

from common.study import Study
from features.store.feature_store import FeatureBag, write_feature_bag

ENCODER = "efficientnet_lite0"
MADE_BY = {
    "encoder": ENCODER, "weights_sha256": "0", "licence": "none", "transform": "none", "stain": "none",
    "stain_reference": "none", "tile_um": 256.0, "tile_px": 256, "runtime": "none", "precision": "float32",
}  # fmt: skip
CLASSES = ("DDLPS", "LMS", "UPS")


def make_feature_study(root: Path, *, n_patients: int = 48, seed: int = 0, is_shuffled: bool = False) -> Study:
    """Write cohort.csv and feature files: 12 dimensions, about 20 tiles a slide, one or two slides a patient."""
    study, rng, rows = Study(root), np.random.default_rng(seed), []
    classes = np.arange(n_patients) % 3
    risk = rng.normal(size=n_patients)
    told_class, told_risk = (rng.permutation(classes), rng.permutation(risk)) if is_shuffled else (classes, risk)
    for index in range(n_patients):
        to_event, to_end = 20 * rng.exponential() * np.exp(-1.5 * told_risk[index]), rng.uniform(5, 60)
        for number in range(1 + index % 2):
            slide_id = f"P{index:02d}-{number}"
            tiles = rng.normal(size=(int(rng.integers(15, 25)), 12))
            tiles[: len(tiles) // 2, classes[index]] += 2
            tiles[:, 5] += 1.5 * risk[index]
            coords = np.stack([np.arange(len(tiles)) * 512, np.zeros(len(tiles), int)], axis=1).astype(np.int64)
            bag = FeatureBag(
                slide_id=slide_id, features=tiles.astype(np.float16), coords=coords, unreadable=np.empty(0, np.int64),
                attributes=MADE_BY,
            )  # fmt: skip
            write_feature_bag(study.feature_file(ENCODER, slide_id), bag)
            rows.append(
                {
                    "patient_id": f"P{index:02d}", "slide_id": slide_id, "subtype": CLASSES[told_class[index]],
                    "time": int(np.ceil(min(to_event, to_end))), "event": int(to_event <= to_end),
                }
            )  # fmt: skip
    pd.DataFrame(rows).to_csv(study.cohort_table, index=False)
    return study
