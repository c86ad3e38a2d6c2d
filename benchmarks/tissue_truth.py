"""Tissue of 100 synthetic slides against the painted truth, beside CLAM's default rule and Otsu on saturation.

    python benchmarks/tissue_truth.py --slides DIR [--number 100] [--seed 11]

Paints the slides into DIR once (plain, pale, pen, single level, blurred, fatty, several pieces, red cells, hyaline and
myxoid ground, open fat, lumina, pale strips, edge shadows), then scores each method: Dice to the painted tissue (pen left
out of both), share of pen-covered tiles kept, share of each painted part found as tissue, and lumina over 0.3 mm2 of which
half and more is called tissue.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path[0] = str(Path(__file__).resolve().parents[1])

from common.machine import default_workers
from common.parallel import over_slides
from preprocessing.quality.closer_look import measure_slide
from preprocessing.quality.measures import QualityConfig
from preprocessing.reading.slide import Slide, open_slide
from preprocessing.synthetic.layout import SlideRecipe
from preprocessing.synthetic.looks import SUBTYPES
from preprocessing.synthetic.slide_and_truth import make_slide, read_truth_mask
from preprocessing.synthetic.synthetic_cohort import SITES, _slide
from preprocessing.tiling.grid import shares_of_tiles, tile_grid
from preprocessing.tissue.overview_mask import OVERVIEW_MPP
from preprocessing.tissue.segmentation import segment_slide, shrunk
from tests.reference.slow_overview import slow_overview

KINDS = {
    "plain": 8, "pale": 10, "pen": 12, "single level": 7, "blurred": 7, "fatty": 8, "several pieces": 6,
    "red cells": 7, "hyaline": 7, "open fat": 8, "lumina": 9, "pale strips": 7, "edge shadow": 4,
}  # fmt: skip
PARTS = ("fat", "open_fat", "pale_piece", "clot", "red_cells", "hyaline", "myxoid", "lumen", "shadow")
LARGE_LUMEN_MM2 = 0.3
TILE_UM = 256.0
MIN_TISSUE = 0.5
PEN_COVERED = 0.25  # share of a tile under the pen
MAX_PEN = QualityConfig().max_pen

Method = Callable[[Slide, np.ndarray], tuple[np.ndarray, np.ndarray]]  # to tissue and ink


def recipe(kind: str, number: int, seed: int) -> SlideRecipe:
    """A slide of a kind, at 0.5 µm a pixel."""
    rng = np.random.default_rng([seed, number, 5])
    site = SITES[number % len(SITES)]
    slide = _slide(
        f"{kind.replace(' ', '_')}-{number:03d}", SUBTYPES[number % 5], site, float(rng.uniform()), float(rng.uniform(0, 0.3)),
        (seed, 9, number),
    )  # fmt: skip
    slide = replace(slide, mpp=0.5, pen="", is_blurred=False, is_pale=False, is_single_level=False, n_pieces=1)
    plain = tuple(float(value) for value in np.array(site.intensities) * rng.uniform(0.85, 1.15, 2))
    changes: dict[str, dict[str, object]] = {
        "plain": {},
        "pale": {"is_pale": True, "intensities": tuple(value * float(rng.uniform(0.35, 0.55)) for value in plain)},
        "pen": {"pen": ("blue", "green", "black")[number % 3]},
        "single level": {"is_single_level": True},
        "blurred": {"is_blurred": True},
        "fatty": {"fat_share": float(rng.uniform(0.5, 0.8)), "tumour_share": 0.25},
        "several pieces": {"n_pieces": int(rng.integers(2, 4))},
        "red cells": {"clot_share": float(rng.uniform(0.05, 0.2)), "red_cells_share": float(rng.uniform(0.02, 0.1))},
        "hyaline": {"hyaline_share": float(rng.uniform(0.2, 0.5)), "myxoid_share": float(rng.uniform(0.1, 0.4))},
        "open fat": {"open_fat_share": float(rng.uniform(0.4, 0.85))},
        "lumina": {"lumen_share": float(rng.uniform(0.1, 0.25))},
        "pale strips": {
            "n_pieces": 2, "n_pale_pieces": 1 + number % 2, "width_mm": 2.9, "fat_share": 0.0, "necrosis_share": 0.0,
        },
        "edge shadow": {"shadow": float(rng.uniform(0.1, 0.35))},
    }  # fmt: skip
    return replace(slide, **{"intensities": plain, **changes[kind]})  # type: ignore[arg-type]


def recipes(number: int, seed: int) -> list[tuple[str, SlideRecipe]]:
    """The slides of the run, the kinds in the proportions of KINDS."""
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(kinds))
    return [
        (kinds[order[index % len(kinds)]], recipe(kinds[order[index % len(kinds)]], index, seed))
        for index in range(number)
    ]


def clam_rule(overview: np.ndarray) -> np.ndarray:
    """CLAM's default: saturation, median of 7, above 8, closing of 4."""
    import cv2

    saturation = cv2.medianBlur(cv2.cvtColor(overview, cv2.COLOR_RGB2HSV)[..., 1], 7)
    mask = (saturation > 8).astype(np.uint8)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((4, 4), np.uint8)).astype(bool)


def otsu_rule(overview: np.ndarray) -> np.ndarray:
    """Otsu on saturation, the rule of many tools."""
    import cv2

    saturation = cv2.medianBlur(cv2.cvtColor(overview, cv2.COLOR_RGB2HSV)[..., 1], 7)
    _, mask = cv2.threshold(saturation, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((4, 4), np.uint8)).astype(bool)


def ours(slide: Slide, overview: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pipeline's mask, both passes, and its ink, at the overview's scale."""
    found = segment_slide(slide)
    return shrunk(found.is_tissue, overview.shape[:2]), shrunk(found.is_ink, overview.shape[:2])


def without_ink(rule: Callable[[np.ndarray], np.ndarray]) -> Method:
    """A rule that knows no ink."""
    return lambda _slide, overview: (rule(overview), np.zeros(overview.shape[:2], bool))


METHODS: dict[str, Method] = {"ours": ours, "CLAM rule": without_ink(clam_rule), "Otsu": without_ink(otsu_rule)}


def score(kind: str, slide_path: Path, truth_path: Path) -> list[dict[str, object]]:
    """The figures of one slide, a row a method."""
    truth = {name: read_truth_mask(truth_path, name, OVERVIEW_MPP) for name in ("tissue", "pen", *PARTS)}
    rows: list[dict[str, object]] = []
    with open_slide(slide_path) as slide:
        overview = slow_overview(slide, OVERVIEW_MPP)
        size, mpp = (slide.width, slide.height), (slide.mpp_x, slide.mpp_y)
        pen_tiles, _ = tile_grid(truth["pen"], slide_px=size, mpp=mpp, tile_um=TILE_UM, min_tissue=PEN_COVERED)
        for method, segment in METHODS.items():
            mask, ink = segment(slide, overview)
            kept, _ = tile_grid(mask, slide_px=size, mpp=mpp, tile_um=TILE_UM, min_tissue=MIN_TISSUE)
            side = (TILE_UM / mpp[0], TILE_UM / mpp[1])
            has_ink = shares_of_tiles(ink, kept, side=side, slide_px=size) > MAX_PEN
            if method == "ours":  # the closer look at each tile, as in the pipeline
                columns, _ = measure_slide(slide, kept, segment_slide(slide), tile_um=TILE_UM)
                has_ink |= columns["pen"] > MAX_PEN
            kept_set = set(map(tuple, kept[~has_ink].tolist()))
            found, wanted = mask & ~truth["pen"], truth["tissue"] & ~truth["pen"]
            parts = {
                f"{part}_{what}": int(mask_of.sum())
                for part in PARTS
                for what, mask_of in (("n", truth[part] & ~truth["pen"]), ("found", truth[part] & found))
            }
            rows.append({
                "kind": kind, "slide": slide_path.stem, "method": method,
                "dice": 2 * (found & wanted).sum() / max(1, found.sum() + wanted.sum()),
                "n_pen": len(pen_tiles), "pen_kept": sum(tuple(tile) in kept_set for tile in pen_tiles.tolist()),
                **lumina(truth["lumen"], found), **parts,
            })  # fmt: skip
    return rows


def lumina(is_lumen: np.ndarray, is_found: np.ndarray) -> dict[str, int]:
    """Count the large lumina, and those of which half and more is called tissue."""
    from scipy import ndimage

    labels, _ = ndimage.label(is_lumen)
    sizes, taken = (np.bincount(labels.ravel(), weights=weight)[1:] for weight in (None, is_found.ravel()))
    is_large = sizes * (OVERVIEW_MPP / 1000) ** 2 > LARGE_LUMEN_MM2
    return {"n_lumina": int(is_large.sum()), "lumina_as_tissue": int((is_large & (taken >= 0.5 * sizes)).sum())}


def main() -> None:
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=Path, required=True, help="folder for the painted slides")
    parser.add_argument("--number", type=int, default=100)
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    wanted = recipes(arguments.number, arguments.seed)
    paths = {
        slide.slide_id: (arguments.slides / f"{slide.slide_id}.tif", arguments.slides / f"{slide.slide_id}.json")
        for _, slide in wanted
    }
    jobs = [(slide.slide_id, (slide, *paths[slide.slide_id])) for _, slide in wanted]
    for outcome in over_slides(make_slide, jobs, workers=default_workers(), timeout_s=900, title="painting"):
        assert outcome.error is None, outcome
    scoring = [(slide.slide_id, (kind, *paths[slide.slide_id])) for kind, slide in wanted]
    rows: list[dict[str, object]] = []
    for scored in over_slides(score, scoring, workers=default_workers(), timeout_s=900, title="scoring"):
        assert scored.value is not None, scored
        rows += scored.value
    table = pd.DataFrame(rows)
    for method, own in table.groupby("method", sort=False):
        by_kind = own.groupby("kind")["dice"].agg(["count", "median", "min"]).round(4)
        worst = own.loc[own["dice"].idxmin()]
        kept, pen = own["pen_kept"].sum(), own["n_pen"].sum()
        print(f"\n{method}: Dice median {own['dice'].median():.4f}, worst {worst['dice']:.4f} ({worst['slide']})")
        print(f"  pen-covered tiles kept {kept} of {pen} ({kept / pen:.2%})")
        print(
            f"  lumina over {LARGE_LUMEN_MM2} mm2 called tissue {own['lumina_as_tissue'].sum()} of {own['n_lumina'].sum()}"
        )
        shares = {part: own[f"{part}_found"].sum() / max(own[f"{part}_n"].sum(), 1) for part in PARTS}
        print("  found as tissue: " + ", ".join(f"{part} {share:.2%}" for part, share in shares.items()))
        print(by_kind.to_string())


if __name__ == "__main__":
    main()
