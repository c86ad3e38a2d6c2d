"""Are slides of a stain and a scanner never seen flagged as unlike the training cohort, and slides of its sites not?

    python benchmarks/familiarity.py DIR [--train 60] [--new 40]

Paints, tiles and embeds in DIR (kept): a training cohort of the three sites of the synthetic study, new patients of the same
sites, and slides of a site with other stains, another glass and another scale. Printed: how many of each lie beyond the
limits of a model's familiarity, by embedding, by stain, and by either.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import pandas as pd

from common.study import Study
from features.embedding.extraction_settings import ExtractionConfig
from features.embedding.study_embedding import embed_study
from features.store.feature_store import read_feature_bag
from mil.models.familiarity import fit_cloud, fit_limits
from mil.models.making import stain_point_of_slide
from preprocessing.synthetic.slide_and_truth import make_slide
from preprocessing.synthetic.synthetic_cohort import make_cohort
from preprocessing.tiling.study_tiles import tile_study
from preprocessing.tiling.tiling_settings import TilingConfig

ENCODER = "efficientnet_lite0"


def unit(vector):
    vector = np.array(vector)
    return tuple(float(value) for value in vector / np.linalg.norm(vector))


def strange(slide, rng):
    """Return a slide as an unknown site would make it: a bluer haematoxylin, an orange eosin, a yellow glass, another scale."""
    return replace(
        slide, haematoxylin=unit(np.array([0.78, 0.58, 0.24]) + rng.normal(0, 0.015, 3)),
        eosin=unit(np.array([0.06, 0.72, 0.69]) + rng.normal(0, 0.015, 3)), glass=(236.0, 230.0, 214.0), mpp=0.37,
    )  # fmt: skip


def make(study, n_train, n_new):
    """Paint the slides, tile and embed them; return slide to patient and group."""
    patients = make_cohort(n_train + 2 * n_new, 11)
    rng, rows = np.random.default_rng(4), []
    for index, patient in enumerate(patients):
        group = "train" if index < n_train else "same" if index < n_train + n_new else "strange"
        for slide in patient.slides[: 2 if group == "train" else 1]:
            own = replace(slide, width_mm=1.4, height_mm=1.2)
            own = strange(own, rng) if group == "strange" else own
            path = study.slides / f"{slide.slide_id}.tif"
            if not path.is_file():
                make_slide(own, path, study.truth / f"{slide.slide_id}.json")
            rows.append((patient.patient_id, slide.slide_id, group))
    table = pd.DataFrame(rows, columns=["patient_id", "slide_id", "group"])
    table.to_csv(study.cohort_table, index=False)
    tile_study(study, TilingConfig(study=study.root, workers=1))
    embed_study(study, ExtractionConfig(study=study.root, workers=1, threads=1))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--new", type=int, default=40)
    options = parser.parse_args()
    study = Study(options.folder)
    for folder in (study.slides, study.truth):
        folder.mkdir(parents=True, exist_ok=True)
    table = make(study, options.train, options.new)
    points = {"embedding": {}, "stain": {}}
    for slide in table["slide_id"]:
        if study.feature_file(ENCODER, slide).is_file():
            points["embedding"][slide] = read_feature_bag(study.feature_file(ENCODER, slide)).features.mean(
                axis=0, dtype=float
            )
            if (stain := stain_point_of_slide(study, slide)) is not None:
                points["stain"][slide] = stain
    beyond = {}
    for kind, own in points.items():
        rows = table[table["slide_id"].isin(own)]
        train = rows[rows["group"] == "train"]
        known = np.stack([own[slide] for slide in train["slide_id"]])
        limits, cloud = fit_limits(known, train["patient_id"].tolist()), fit_cloud(known)
        print(f"{kind}: {len(train)} training slides, limit {limits.patient:.3f}, level {limits.level:.3f}")
        for slide in rows["slide_id"]:
            beyond[slide, kind] = cloud.distances(own[slide][None])[0] > limits.patient
    for group in ("same", "strange"):
        slides = [slide for slide in table[table["group"] == group]["slide_id"] if (slide, "embedding") in beyond]
        flags = np.array([[beyond.get((slide, kind), False) for kind in points] for slide in slides])
        shares = ", ".join(f"{kind} {flags[:, at].mean():.1%}" for at, kind in enumerate(points))
        print(f"{group}: {len(slides)} slides, flagged {flags.any(axis=1).mean():.1%} ({shares})")


if __name__ == "__main__":
    main()
