"""Results by image: the head on one image's fields, and intervals that draw whole patients."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from common.study import Study
from features.store.feature_store import FeatureBag, read_feature_bag, write_feature_bag
from mil.bags.bags import Bag
from mil.heads.registry import make_head
from mil.train import main as train
from mil.training.image_predictions import predict_images
from mil.training.training_settings import TrainConfig
from tests.helpers.feature_study import CLASSES, ENCODER, MADE_BY

FAST = ["--epochs", "5", "--hidden", "16", "--attention", "8", "--bootstrap", "100", "--threads", "1"]


def make_tile_study(root, *, n_patients=30, n_images=4, n_fields=5, seed=0, sets=("train", "train", "test")):
    """Write a study as a tile table leaves it: fields tell the class, images of a patient are alike."""
    study, rng, rows = Study(root), np.random.default_rng(seed), []
    for index in range(n_patients):
        label, patient = index % 3, f"P{index:02d}"
        tiles = rng.normal(size=(n_images * n_fields, 12))
        tiles[:, label] += 1.0
        attributes = MADE_BY | {"tile_um": 0.0, "images": json.dumps([f"{patient}_{k}.png" for k in range(n_images)])}
        bag = FeatureBag(
            slide_id=patient, features=tiles.astype(np.float16), coords=np.zeros((len(tiles), 2), np.int64),
            unreadable=np.empty(0, np.int64), attributes=attributes, image_index=np.repeat(np.arange(n_images), n_fields),
        )  # fmt: skip
        write_feature_bag(study.feature_file(ENCODER, patient), bag)
        given_set = sets[index // 3 % len(sets)]
        rows.append({"patient_id": patient, "slide_id": patient, "subtype": CLASSES[label], "set": given_set})
    pd.DataFrame(rows).to_csv(study.cohort_table, index=False)
    return study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = make_tile_study(tmp_path_factory.mktemp("tiles"))
    assert train(["--study", str(study.root), *FAST]) == 0
    return study


def test_an_images_prediction_is_the_head_on_its_fields_alone():
    torch.manual_seed(0)
    config = TrainConfig(hidden=8, attention=4, dropout=0.2)
    head = make_head(config.head, config, n_inputs=6, n_outputs=3)
    rng = np.random.default_rng(0)
    image_of_tile = np.array([1, 0, 2, 1, 1, 0, 2])
    bag = Bag(
        patient_id="p", slide_ids=("p",), tiles=rng.normal(size=(7, 6)).astype(np.float16), slide_of_tile=np.zeros(7, np.int64),
        coords=np.zeros((7, 2), np.int64), images=("a", "b", "c"), image_of_tile=image_of_tile,
    )  # fmt: skip
    found = predict_images(head, bag)
    head.eval()
    for image in range(3):
        tiles = torch.from_numpy(bag.tiles[image_of_tile == image].astype(np.float32))
        alone = head(tiles, torch.zeros(len(tiles), dtype=torch.int64), 1)
        assert found[image] == pytest.approx(torch.softmax(alone[0], 0).detach().numpy(), abs=1e-6)


@pytest.mark.slow
def test_every_image_of_the_test_patients_and_no_other_is_predicted(study):
    folder = study.run("subtype", "default")
    table = pd.read_csv(folder / "predictions_tiles.csv")
    cohort = pd.read_csv(study.cohort_table)
    assert set(table["patient_id"]) == set(cohort.loc[cohort["set"] == "test", "patient_id"])
    assert (table.groupby("patient_id")["image"].nunique() == 4).all()
    assert (table["n_fields"] == 5).all()
    assert np.allclose(table[[f"p_{name}" for name in CLASSES]].sum(axis=1), 1)


@pytest.mark.slow
def test_figures_equal_scikit_learns(study):
    folder = study.run("subtype", "default")
    table = pd.read_csv(folder / "predictions_tiles.csv")
    found = json.loads((folder / "metrics.json").read_text())["images"]
    scores = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    wanted = roc_auc_score(
        table["truth"], scores / scores.sum(axis=1, keepdims=True), multi_class="ovr", labels=CLASSES
    )
    assert found["macro_auroc"]["value"] == pytest.approx(wanted)
    right = accuracy_score(table["truth"], np.array(CLASSES)[scores.argmax(axis=1)])
    assert found["accuracy"]["value"] == pytest.approx(right)
    assert (found["n_images"], found["n_patients"]) == (len(table), table["patient_id"].nunique())
    assert np.array(found["confusion"]["counts"]).sum() == len(table)
    page = (folder / "report.html").read_text()
    assert "By image</h2>" in page
    assert f"{found['macro_auroc']['value']:.3f}" in page


@pytest.mark.slow
def test_without_test_patients_or_images_there_is_no_result_by_image(tmp_path):
    study = make_tile_study(tmp_path / "train_only", n_patients=9, sets=("train",))
    assert train(["--study", str(study.root), *FAST]) == 0
    folder = study.run("subtype", "default")
    assert not (folder / "predictions_tiles.csv").exists()
    found = json.loads((folder / "metrics.json").read_text())
    assert not found["evaluated"]
    assert "images" not in found
    assert "By image" not in (folder / "report.html").read_text()


@pytest.mark.slow
def test_an_image_that_could_not_be_decoded_is_no_result(tmp_path):
    study = make_tile_study(tmp_path / "study", n_patients=12)
    for patient in ("P06", "P07"):  # tested
        path = study.feature_file(ENCODER, patient)
        bag = read_feature_bag(path)
        images = json.dumps([*json.loads(bag.attributes["images"]), "cut_off.png"])  # no field of it was read
        write_feature_bag(path, replace(bag, attributes=bag.attributes | {"images": images}))
    assert train(["--study", str(study.root), *FAST]) == 0
    table = pd.read_csv(study.run("subtype", "default") / "predictions_tiles.csv")
    assert "P06" in set(table["patient_id"])
    assert "cut_off.png" not in set(table["image"])
    assert (table["n_fields"] > 0).all()
