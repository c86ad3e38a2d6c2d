"""Studies in which every kind of file occurs, made as small as they can be, and the names that stand in a file."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import fsspec
import h5py
import numpy as np
import pandas as pd
import yaml
from safetensors import safe_open

from common.study import Study
from features.convert_features import main as convert
from features.extract_features import main as extract
from features.store.feature_store import read_feature_bag, write_feature_bag
from mil.clinical import main as clinical
from mil.evaluate import main as evaluate
from mil.explain import main as explain
from mil.predict import main as predict
from mil.show_results import main as show_results
from mil.train import main as train
from preprocessing.export_tiles import main as export
from preprocessing.make_stain_reference import main as make_reference
from preprocessing.synthetic.slide_and_truth import make_slide
from preprocessing.synthetic.synthetic_cohort import cohort_rows, make_cohort, truth_rows
from preprocessing.tile_slides import main as tile
from sarcoma_mil.whole.run_settings import RunConfig
from sarcoma_mil.whole.study_steps import splits_step, study_settings
from sarcoma_mil.whole.whole_run import WholeRun
from splits.make_splits import main as make_splits
from tests.helpers.feature_study import ENCODER, make_feature_study
from tests.helpers.slide_recipes import recipe
from tests.helpers.target_study import make_target_study

FAST = ["--epochs", "6", "--hidden", "8", "--attention", "4", "--bootstrap", "100", "--threads", "1"]
FAST += ["--learning_rate", "0.01"]


def make_slide_study(root: Path) -> Study:
    """Slides to features: a marred slide and one that is none, tiled, exported, embedded and converted."""
    study = Study(root)
    (root / "truth").mkdir(parents=True)
    marred = recipe(width_mm=1.4, height_mm=1.2, fat_share=0.3, pen="blue", is_blurred=True, mpp=0.5)
    make_slide(marred, study.slides / "s.tif", study.truth / "s.json")
    (study.slides / "broken.tif").write_bytes((study.slides / "s.tif").read_bytes()[:200])
    fsspec.filesystem("memory").pipe_file("/whole/s.tif", (study.slides / "s.tif").read_bytes())
    (study.slides / "s.tif").unlink()  # it lies elsewhere
    patients = make_cohort(2, 0)
    pd.DataFrame(truth_rows(patients)).to_csv(study.truth / "patients.csv", index=False)
    wide = pd.DataFrame(cohort_rows(patients))[:1].assign(slide_id="s", mpp=0.5, mpp_x=None, mpp_y=None, set="train")
    pd.concat([wide.assign(slide_url="memory://whole/s.tif"), wide.assign(slide_id="broken")]).to_csv(
        study.cohort_table, index=False
    )
    (root / "study.yaml").write_text("tile_slides:\n  tile_um: 128\ncolumns:\n  patient_id: patient_id\n")
    flag = ["--study", str(root)]
    assert tile([*flag, "--workers", "0"]) == 1  # one slide is none
    assert make_reference([*flag, "--slides", "s"]) == 0
    assert export([*flag, "--max_tiles", "4", "--workers", "0"]) in (0, 1)
    assert extract([*flag, "--hed_copies", "1", "--workers", "1"]) == 1
    convert_to = ("clam", "stamp", "slideflow", "trident")
    for layout in convert_to:
        assert convert([*flag, "--to", layout, "--out", str(root / f"as_{layout}")]) in (0, 1)
    return study


def make_run_study(root: Path) -> Study:
    """Features to reports: both tasks with covariates, sites, a learning curve, a comparison of heads and one of runs."""
    study = make_feature_study(root, n_patients=30)
    table = pd.read_csv(study.cohort_table)
    number = table["patient_id"].str[1:].astype(int)
    table["site"] = [f"site {n // 3 % 3}" for n in number]
    table["age"], table["sex"] = 40 + number, ["f" if n % 2 else "m" for n in number]
    table["vital_status"] = table["event"]  # named like an outcome: no covariate
    study.feature_file(ENCODER, "P00-0").unlink()  # a patient lost
    table.to_csv(study.cohort_table, index=False)
    flag = ["--study", str(root)]
    run = WholeRun(
        study_settings(study), RunConfig(study=root), print, call=lambda _, own: make_splits([*own, "--folds", "2"])
    )
    assert run.do(splits_step) == 0  # leaves its stamp
    for task in ("subtype", "survival"):
        own = [*flag, "--task", task]
        assert train([*own, *FAST, "--learning_curve", "0.5", "--heads", "mean_mlp"]) == 0
        assert train([*own, *FAST, "--name", "other", "--seed", "1"]) == 0
        assert evaluate([*own, "--against", "other"]) == 0
        assert explain(own) == 0
        new = [
            "--features",
            str(study.features(ENCODER)),
            "--bootstrap",
            "100",
            "--out",
            str(root / "predictions" / task),
        ]
        assert predict([*own, *new]) == 0
        assert clinical([*own, "--bootstrap", "100"]) == 0
    in_intervals = ["--loss", "logistic_hazard", "--name", "intervals"]
    assert train([*flag, "--task", "survival", *FAST, *in_intervals]) == 0
    assert show_results(flag) == 0
    return study


def make_target_runs(root: Path) -> Study:
    """Columns to reports: a number, ordered classes, and both at once with classes, a label missing in one."""
    study = make_target_study(root, n_patients=24, folds=2)
    table = pd.read_csv(study.cohort_table)
    table.loc[table["patient_id"] == "P03", "size_mm"] = None
    table.to_csv(study.cohort_table, index=False)
    (root / "study.yaml").write_text(
        "tasks:\n  three: {target: [grade, size_mm, stage]}\n"
        "  level: {target: level, kind: ordered, order: [low, intermediate, high]}\n"
        "search: {dropout: [0.0, 0.25], learning_rate: {low: 0.001, high: 0.01, log: true}}\n"
    )
    for flags in (["--target", "size_mm", "--search", "2"], ["--task", "level"], ["--task", "three"]):
        assert train(["--study", str(root), *FAST, *flags]) == 0
    return study


def make_tile_table_study(root: Path) -> Study:
    """Embed a table of tile images, one of which is missing."""
    images = root.parent / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), np.random.default_rng(0).integers(100, 255, (300, 300, 3)).astype(np.uint8))
    rows = ["patient_ID,Path,Label,training_set,is_valid", "P,a.png,LMS,TRAIN,False", "P,b.png,LMS,TRAIN,False"]
    (images / "key.csv").write_text("\n".join(rows) + "\n")
    root.mkdir()
    assert extract(["--study", str(root), "--tiles", str(images / "key.csv"), "--workers", "1"]) == 0
    return Study(root)


def make_image_study(root: Path) -> Study:
    """Train on bags of a tile table, so that there are results by image."""
    study = make_feature_study(root, n_patients=18)
    table = pd.read_csv(study.cohort_table)[["patient_id", "slide_id", "subtype"]].drop_duplicates("patient_id")
    table["set"] = ["test" if int(patient[1:]) // 3 % 3 == 2 else "train" for patient in table["patient_id"]]
    table.to_csv(study.cohort_table, index=False)
    for path in sorted(study.features(ENCODER).glob("*.h5")):
        bag = read_feature_bag(path)
        known = {name: value for name, value in bag.attributes.items() if name not in ("schema", "content_sha256")}
        attributes = known | {"tile_um": 0.0, "images": json.dumps(["a.png", "b.png"])}
        halves = np.arange(len(bag.features)) * 2 // len(bag.features)
        write_feature_bag(path, replace(bag, attributes=attributes, image_index=halves))
    assert train(["--study", str(root), *FAST]) == 0
    return study


def names_in(path: Path) -> set[str]:
    """Return the names that stand in a file: datasets, @attributes, columns, or paths of keys with [] for lists."""
    if path.suffix == ".h5":
        return _names_in_hdf5(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return set(next(csv.reader(file)))
    if path.suffix in (".json", ".geojson"):
        return _paths(json.loads(path.read_text(encoding="utf-8")))
    if path.suffix == ".yaml":
        return _paths(yaml.safe_load(path.read_text(encoding="utf-8")))
    if path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            tensors = {f"tensor {name}" for name in file.keys()}  # noqa: SIM118  (safe_open is no mapping)
            return tensors | _paths(json.loads(re.sub(r"^[0-9a-f]{64} ", "", file.metadata()["sarcoma_mil"])))
    return set()


def _names_in_hdf5(path: Path) -> set[str]:
    with h5py.File(path, "r") as file:
        names = {f"@{name}" for name in file.attrs}
        for dataset in file:
            names |= {dataset, *(f"{dataset}@{name}" for name in file[dataset].attrs)}
    return names


def _paths(value: object, start: str = "") -> set[str]:
    """Return the paths of all leaves."""
    if isinstance(value, dict) and value:
        return {path for key, part in value.items() for path in _paths(part, f"{start}.{key}" if start else str(key))}
    if isinstance(value, list) and value:
        return {path for part in value for path in _paths(part, f"{start}[]")}
    return {start}
