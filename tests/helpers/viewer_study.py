"""A small study to look at: slides with hostile names, tiles, a run, maps whose values say which tile they are of."""

from dataclasses import replace

import numpy as np
import pandas as pd

from common.study import Study
from features.store.feature_store import FeatureBag, write_feature_bag
from mil.explanation.map_store import SlideMap, write_slide_map
from preprocessing.synthetic.slide_and_truth import make_slide
from preprocessing.tile_slides import main as tile
from preprocessing.tiling.tile_store import read_slide_tiles
from tests.helpers.feature_study import ENCODER, MADE_BY
from tests.helpers.run_folders import FACTS, evaluated, reseal, subtype_run, survival_run, write_facts

HOSTILE = "<script> alert(1)"  # with blanks
PATIENTS = {"p00": ("first", HOSTILE), "p01": ("second",), "p02": ("broken",)}
KNOWN = {
    "task": "subtype",
    "values": {},
    "base": {},
    "residual": {},
    "level": 0.0,
    "heads": [],
    "methods": [],
    "model_sha256": "",
}


def make_viewer_study(root):
    """Return the study; contributions of a slide's tiles rise from tile to tile, and below 0 in its first half."""
    from tests.helpers.slide_recipes import recipe

    study = Study(root)
    rows = []
    for patient, slides in PATIENTS.items():
        for number, slide_id in enumerate(slides):
            if slide_id == "broken":
                (study.slides / "broken.tif").write_bytes(b"II*\0" + bytes(300))
            else:
                seed = (number, len(slide_id))
                make_slide(
                    recipe(width_mm=1.6, height_mm=1.2, seed=seed), study.slides / f"{slide_id}.tif", root / "t.json"
                )
            rows.append({"patient_id": patient, "slide_id": slide_id, "subtype": "B"})
    pd.DataFrame(rows).to_csv(study.cohort_table, index=False)
    assert tile(["--study", str(root), "--tile_um", "128", "--workers", "0"]) == 1  # one slide is none
    for name, make in (("subtype", subtype_run), ("survival", survival_run)):
        make(study.run(name, "default"))
    settings = {"encoder": ENCODER, "features": None}
    folder = study.run("subtype", "default")
    write_facts(folder, replace(FACTS, classes=("A<1>", "B", "C"), settings=settings))
    _with_follow_up(study.run("survival", "default"))
    evaluated(folder)
    for patient, slides in PATIENTS.items():
        for slide_id in slides:
            if slide_id != "broken":
                _add_features_and_map(study, patient, slide_id)
    return study


def _with_follow_up(folder):
    table = pd.read_csv(folder / "predictions.csv", dtype={"patient_id": str})
    rows = [table.assign(fold=fold)[table["fold"] != fold] for fold in (0, 1)]
    pd.concat(rows).to_csv(folder / "training_follow_up.csv", index=False)
    reseal(folder)


def _add_features_and_map(study, patient, slide_id):
    tiles = read_slide_tiles(study.tile_file(slide_id))
    n = len(tiles.coords)
    angle = np.arange(n) / n * np.pi
    features = np.stack([np.cos(angle), np.sin(angle), np.zeros(n)], axis=1).astype(np.float16)
    bag = FeatureBag(
        slide_id=slide_id, features=features, coords=tiles.coords, unreadable=np.empty(0, np.int64), attributes=MADE_BY
    )
    write_feature_bag(study.feature_file(ENCODER, slide_id), bag)
    rising = np.arange(n) - n / 2
    own = SlideMap(
        slide_id=slide_id, patient_id=patient, outputs=("A<1>", "B", "C"), told="B",
        contributions=np.stack([-rising, rising, 0 * rising], axis=1), attention=np.full(n, 1 / n), coords=tiles.coords,
        coords_unit="level-0 px", known=KNOWN,
    )  # fmt: skip
    folder = study.run("subtype", "default") / "explanation" / "tiles"
    folder.mkdir(parents=True, exist_ok=True)
    write_slide_map(folder / f"{slide_id}.h5", own)
