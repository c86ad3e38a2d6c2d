"""How near the pipeline comes to the known truth of a synthetic study: tissue Dice, stain angles, attention AUROC.

python benchmarks/demo_truth.py --study study
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.cohort import read_cohort
from common.study import Study
from preprocessing.synthetic.slide_and_truth import read_truth_mask
from preprocessing.tiling.tile_store import read_slide_tiles

MASK_MPP = 8.0


def dice(study: Study, slide_id: str) -> float:
    """Overlap of the outline we wrote with the painted tissue (ink left out of both)."""
    from PIL import Image, ImageChops, ImageDraw

    truth_file = study.truth / f"{slide_id}.json"
    truth = read_truth_mask(truth_file, "tissue", MASK_MPP)
    ink = read_truth_mask(truth_file, "pen", MASK_MPP)
    size = (truth.shape[1], truth.shape[0])
    found = Image.new("1", size)
    scale = json.loads(truth_file.read_text())["mpp"] / MASK_MPP
    for feature in json.loads(study.outline_file(slide_id).read_text())["features"]:
        geometry = feature["geometry"]
        polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        for polygon in polygons:
            for ring in polygon:
                part = Image.new("1", size)
                ImageDraw.Draw(part).polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in ring], fill=1)
                found = ImageChops.logical_xor(found, part)
    a, b = np.asarray(found) & ~ink, truth & ~ink
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def stain_angles(study: Study, slide_id: str) -> tuple[float, float]:
    """Degrees between the fitted and the painted haematoxylin and eosin vectors."""
    fitted = read_slide_tiles(study.tile_file(slide_id)).stain.matrix
    painted = np.array(json.loads((study.truth / f"{slide_id}.json").read_text())["stain_matrix"])
    cosines = np.clip((fitted * painted).sum(axis=1), -1, 1)
    haematoxylin, eosin = np.degrees(np.arccos(cosines))
    return float(haematoxylin), float(eosin)


def tumour_share(study: Study, slide_id: str) -> np.ndarray:
    """Share of painted tumour in each tile of a slide."""
    tiles = read_slide_tiles(study.tile_file(slide_id))
    mask = read_truth_mask(study.truth / f"{slide_id}.json", "tumour", MASK_MPP)
    scale, side = tiles.mpp_x / MASK_MPP, tiles.tile_um / MASK_MPP
    corners = np.round(tiles.coords * scale).astype(int)
    return np.array([mask[y : y + round(side), x : x + round(side)].mean() for x, y in corners])


def attention_auroc(study: Study, run: str, encoder: str) -> list[float]:
    """AUROC, a patient, of the out-of-fold attention for tiles that are mostly tumour (a tile of both kinds is left out)."""
    from sklearn.metrics import roc_auc_score

    from mil.bags.bags import open_bags
    from mil.runs.model_file import read_model

    run_dir = study.run("subtype", run)
    record = json.loads((run_dir / "run.json").read_text())
    aurocs = []
    bags, _, _ = open_bags(study, read_cohort(study.cohort_table), encoder)
    for fold in record["folds"]:
        model = read_model(run_dir / fold["model_file"])
        beside = json.loads((run_dir / fold["model_file"]).with_suffix(".json").read_text())
        for patient in beside["patients"]["test"]:
            bag = bags.read(patient)
            weights = model.attention(bag.tiles)
            shares = np.concatenate([tumour_share(study, slide_id) for slide_id in bag.slide_ids])
            kept = (shares > 0.8) | (shares < 0.2)
            truth = shares[kept] > 0.5
            if 0 < truth.sum() < len(truth):
                aurocs.append(float(roc_auc_score(truth, weights[kept])))
    return aurocs


def show(name: str, values: list[float]) -> None:
    """Print the spread of a figure."""
    low, median, high = np.percentile(values, [0, 50, 100])
    print(f"{name:34s} n {len(values):4d}   worst {low:.3f}   median {median:.3f}   best {high:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=Path("study"))
    parser.add_argument("--run", default="default")
    parser.add_argument("--encoder", default="efficientnet_lite0")
    arguments = parser.parse_args()
    study = Study(arguments.study)
    slides = sorted(path.stem for path in study.tiles.glob("*.h5"))
    dices = {slide_id: dice(study, slide_id) for slide_id in slides}
    show("tissue Dice", list(dices.values()))
    print("  lowest:", sorted(dices, key=dices.__getitem__)[:3])
    angles = np.array([stain_angles(study, slide_id) for slide_id in slides])
    for name, column in zip(("haematoxylin", "eosin"), angles.T, strict=True):
        print(
            f"angle to {name:25s} n {len(column):4d}   median {np.median(column):.2f} deg   worst {column.max():.2f} deg"
        )
    if (study.run("subtype", arguments.run) / "run.json").is_file():
        show("attention AUROC for tumour tiles", attention_auroc(study, arguments.run, arguments.encoder))


if __name__ == "__main__":
    main()
