"""What the tile quality says against the truth of synthetic slides: blur, pen, folds, blood, lumina, clean and fatty tiles.

python benchmarks/quality_truth.py --folder DIR --seed 41     # paints 30 slides of 15 kinds into DIR first
python benchmarks/quality_truth.py --folder study             # or takes a synthetic study as it is

Tiles are laid over the painted tissue and lumina, pen and all, so that the quality columns are judged without help from the tissue
finder; the last line is for the tiles that are left when it has helped.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from preprocessing.quality.closer_look import measure_slide
from preprocessing.quality.measures import QualityConfig, rate_tiles, slide_flags
from preprocessing.reading.slide import open_slide
from preprocessing.synthetic.further_layout import FurtherKinds
from preprocessing.synthetic.layout import SlideRecipe, lay_out
from preprocessing.synthetic.painter import COARSE_UM
from preprocessing.synthetic.slide_and_truth import make_slide, read_truth_mask
from preprocessing.synthetic.synthetic_cohort import make_cohort
from preprocessing.tiling.grid import tile_grid
from preprocessing.tissue.overview_mask import OVERVIEW_MPP
from preprocessing.tissue.segmentation import segment_slide

TILE_UM = 256.0
KINDS: dict[str, dict[str, object]] = {
    "clean": {}, "blur": {"is_blurred": True}, "penblue": {"pen": "blue"}, "fold": {"has_fold": True},
    "fatty": {"fat_share": 0.75, "tumour_share": 0.15}, "paleblur": {"is_pale": True, "is_blurred": True},
    "pengreen": {"pen": "green"}, "pale": {"is_pale": True}, "penblack": {"pen": "black"},
    "fatblur": {"is_blurred": True, "fat_share": 0.5, "tumour_share": 0.25},
    "palefold": {"has_fold": True, "is_pale": True}, "oneblur": {"is_single_level": True, "is_blurred": True},
    "redcells": {"clot_share": 0.15, "red_cells_share": 0.1}, "lumina": {"lumen_share": 0.25},
    "hyaline": {"hyaline_share": 0.35, "myxoid_share": 0.2},
}  # fmt: skip
PALE = 0.55


def recipes(n_slides: int, seed: int) -> list[SlideRecipe]:
    """Return slides of each kind in turn; patients, sites and stains are those of a cohort of this seed."""
    pool = [slide for patient in make_cohort(30, seed) for slide in patient.slides]
    plain: dict[str, object] = {each.name: each.default for each in dataclasses.fields(FurtherKinds)}
    plain |= {"pen": "", "is_blurred": False, "is_pale": False, "has_fold": False, "is_single_level": False}
    chosen = []
    for index in range(n_slides):
        kind = list(KINDS)[index % len(KINDS)]
        drawn, changes = pool[2 * index], {**plain, **KINDS[kind]}
        if drawn.is_pale != changes["is_pale"]:
            factor = PALE if changes["is_pale"] else 1 / PALE
            changes["intensities"] = tuple(value * factor for value in drawn.intensities)
        chosen.append(dataclasses.replace(drawn, slide_id=f"{kind}-{index}", **changes))
    return chosen


def truth_shares(truth_file: Path, coords: np.ndarray, mpp: float) -> dict[str, np.ndarray]:
    """Return the share of each kind of region in each tile; the fold is laid out again from the recipe."""
    masks = {
        name: read_truth_mask(truth_file, name, COARSE_UM)
        for name in ("tissue", "blur", "pen", "fat", "necrosis", "clot", "red_cells", "lumen")
    }
    masks["blood"] = masks.pop("clot") | masks.pop("red_cells")
    masks["fold"] = fold_mask(truth_file, masks["tissue"].shape)
    for name in ("fold", "blur"):
        masks[name] = masks[name] & masks["tissue"]
    side = round(TILE_UM / COARSE_UM)
    corners = np.round(coords * mpp / COARSE_UM).astype(int)
    return {
        name: np.array([mask[y : y + side, x : x + side].mean() for x, y in corners]) for name, mask in masks.items()
    }


def fold_mask(truth_file: Path, shape: tuple[int, ...]) -> np.ndarray:
    stored = json.loads(json.loads(truth_file.read_text())["recipe"])
    if not stored["has_fold"]:
        return np.zeros(shape, bool)
    names = [field.name for field in dataclasses.fields(SlideRecipe) if field.name in stored]
    recipe = SlideRecipe(**{name: tuple(v) if isinstance(v := stored[name], list) else v for name in names})
    fold = lay_out(recipe, np.random.default_rng(recipe.seed)).fields["fold"] > 0.5
    full = np.zeros(shape, bool)
    h, w = min(shape[0], fold.shape[0]), min(shape[1], fold.shape[1])
    full[:h, :w] = fold[:h, :w]
    return full


def judge(slide_file: Path, truth_file: Path, config: QualityConfig) -> dict[str, object]:
    """Measure one slide and set it against its truth."""
    with open_slide(slide_file) as slide:
        found = segment_slide(slide)
        painted = read_truth_mask(truth_file, "tissue", OVERVIEW_MPP) | read_truth_mask(
            truth_file, "lumen", OVERVIEW_MPP
        )
        laid = {"slide_px": (slide.width, slide.height), "mpp": (slide.mpp_x, slide.mpp_y), "tile_um": TILE_UM}
        coords, _ = tile_grid(painted, min_tissue=0.5, **laid)
        helped, _ = tile_grid(found.is_tissue, min_tissue=0.5, **laid)
        tissue = dataclasses.replace(found, is_tissue=painted)
        start = time.perf_counter()
        columns, _ = measure_slide(slide, coords, tissue, tile_um=TILE_UM)
        seconds = time.perf_counter() - start
        mpp = slide.mpp_x
    shares = truth_shares(truth_file, coords, mpp)
    kept, reason = rate_tiles(columns, config)
    is_laid = np.isin(coords[:, 0] + 1j * coords[:, 1], helped[:, 0] + 1j * helped[:, 1])
    recipe = json.loads(json.loads(truth_file.read_text())["recipe"])
    traits = [name for name in ("is_blurred", "is_pale", "has_fold") if recipe[name]] + ["pen"] * bool(recipe["pen"])
    for name in ("clot", "lumen", "hyaline"):
        traits += [name] * (recipe.get(f"{name}_share", 0) > 0)
    if recipe["fat_share"] >= 0.4:
        traits.append("fatty")
    return {
        "kind": " ".join(name.split("_")[-1] for name in traits) or "clean", "columns": columns, "shares": shares,
        "kept": kept, "reason": reason, "is_laid": is_laid, "seconds": seconds,
        "flags": slide_flags(columns, reason, config),
    }  # fmt: skip


def auroc(is_positive: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(is_positive, score)) if 0 < is_positive.sum() < len(is_positive) else float("nan")


def figures(slides: list[dict[str, object]]) -> dict[str, str]:
    """Pool the tiles of slides of one kind."""
    join = lambda part, name: np.concatenate([each[part][name] for each in slides])  # noqa: E731
    share = {name: join("shares", name) for name in slides[0]["shares"]}
    column = {name: join("columns", name) for name in slides[0]["columns"]}
    kept, reason, is_laid = (np.concatenate([each[name] for each in slides]) for name in ("kept", "reason", "is_laid"))
    relative = np.concatenate([s["columns"]["sharpness"] / np.nanmedian(s["columns"]["sharpness"]) for s in slides])
    seen = ~np.isnan(relative)
    sure = seen & ((share["blur"] > 0.8 * share["tissue"]) | (share["blur"] == 0)) & (share["pen"] == 0)
    blurred, penned = sure & (share["blur"] > 0), share["pen"] > 0.25
    folded = share["fold"] > 0.4
    clean = (share["blur"] == 0) & (share["pen"] == 0) & (share["fold"] == 0) & (share["lumen"] == 0)
    empty = share["lumen"] > 0.97
    fat = clean & (share["fat"] > 0.5)
    part = lambda mask, of: f"{(mask & of).sum()}/{of.sum()}" if of.any() else "-"  # noqa: E731
    return {
        "slides": str(len(slides)), "tiles": str(len(kept)),
        "AUROC blur": f"{auroc(blurred[sure], -relative[sure]):.3f}", "blurred out": part(~kept, blurred),
        "pen kept": part(kept, penned), "pen kept, laid": part(kept & is_laid, penned),
        "fold out": part(reason == 2, folded), "AUROC fold": f"{auroc(share['fold'] > 0.2, column['fold']):.3f}",
        "clean out": part(~kept, clean), "fat out": part(~kept, fat),
        "AUROC blood": f"{auroc(share['blood'] > 0.2, column['blood']):.3f}",
        "blood called": f"{column['blood'].sum():.0f}/{share['blood'].sum():.0f}",
        "clean foldlike": part(column["fold"] > 0.1, clean), "lumen out": part(~kept, empty),
        "least clean": f"{relative[clean & seen].min():.2f}",
        "AUROC necr.": f"{auroc(share['necrosis'] > 0.5, column['necrosis_like']):.3f}",
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, help="paint slides of this seed; without it the folder's slides are taken")
    parser.add_argument("--slides", type=int, default=30)
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.seed is not None:
        for recipe in recipes(arguments.slides, arguments.seed):
            make_slide(
                recipe, folder / "slides" / f"{recipe.slide_id}.tif", folder / "truth" / f"{recipe.slide_id}.json"
            )
    by_kind: dict[str, list[dict[str, object]]] = defaultdict(list)
    for slide_file in sorted((folder / "slides").glob("*.tif")):
        outcome = judge(slide_file, folder / "truth" / f"{slide_file.stem}.json", QualityConfig())
        by_kind[outcome["kind"]].append(outcome)
        print(f"{slide_file.stem:14s} {outcome['seconds']:.2f} s  {', '.join(outcome['flags'])}", flush=True)
    rows = {kind: figures(slides) for kind, slides in sorted(by_kind.items())}
    rows["all"] = figures([slide for slides in by_kind.values() for slide in slides])
    names = list(rows["all"])
    print("\n" + f"{'kind':16s}" + "".join(f"{name:>16s}" for name in names))
    for kind, row in rows.items():
        print(f"{kind:16s}" + "".join(f"{row[name]:>16s}" for name in names))


if __name__ == "__main__":
    main()
