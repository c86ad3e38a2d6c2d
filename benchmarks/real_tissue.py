"""Tissue on real slides: fat inside lobules outlined by hand, strips found, the largest lumen in tissue; and a picture.

    python benchmarks/real_tissue.py SLIDES [--mpp mpp.csv] [--picture outlines.jpg]

SLIDES is a folder of slides; mpp.csv (columns slide_id, mpp) gives scales that the files lack. For a slide with an outline in
benchmarks/real/<slide>.geojson (level-0 pixels) the share of the outlined area that is tissue is printed. A lumen is a place
as bright and even as the slide's glass (mean density below 0.08, its deviation over 24 µm below 0.01) inside the tissue and
outside of hand-drawn fat.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from shapely.geometry import shape

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.real_slides import real_slides
from preprocessing.tissue.outline import filled
from preprocessing.tissue.segmentation import segment_slide, shrunk

HERE = Path(__file__).resolve().parent / "real"
WIDTH_PX = 900
OUTLINE = (0, 150, 60)
GLASS_OD, GLASS_SD = 0.08, 0.01


def largest_lumen_mm2(
    overview: np.ndarray, glass: tuple[float, float, float], is_tissue: np.ndarray, mpp: float
) -> float:
    """Return the area of the largest clear, even place inside the tissue."""
    od = (
        np.maximum(np.log((np.array(glass) + 1) / (overview.astype(np.float32) + 1)), 0).mean(axis=2).astype(np.float32)
    )
    mean, square = (cv2.blur(plane, (3, 3)) for plane in (od, od * od))
    is_clear = (mean < GLASS_OD) & (np.maximum(square - mean**2, 0) < GLASS_SD**2) & is_tissue
    n_labels, _, stats, _ = cv2.connectedComponentsWithStats(is_clear.astype(np.uint8), connectivity=4)
    return float(stats[1:, cv2.CC_STAT_AREA].max() * (mpp / 1000) ** 2) if n_labels > 1 else 0.0


def main() -> None:
    arguments, slides = real_slides(__doc__)
    print("| slide | tissue mm2 | pieces over 1 mm2 | of outlined fat found | largest lumen in tissue, mm2 |")
    print("|---|---|---|---|---|")
    pictures = []
    for name, slide in slides:
        found, size = segment_slide(slide), (slide.width, slide.height)
        is_tissue = shrunk(found.is_tissue, found.is_ink.shape)
        px_mm2 = (found.mpp / 1000) ** 2
        stats = cv2.connectedComponentsWithStats(is_tissue.astype(np.uint8))[2]
        n_pieces = int((stats[1:, cv2.CC_STAT_AREA] * px_mm2 >= 1).sum())
        outline, share, is_fat = HERE / f"{name}.geojson", "", np.zeros_like(is_tissue)
        if outline.is_file():
            polygons = [shape(each["geometry"]) for each in json.loads(outline.read_text())["features"]]
            is_fat = filled(polygons, is_tissue.shape, slide_px=size).view(bool)
            share = f"{is_tissue[is_fat].mean():.1%}"
        lumen = largest_lumen_mm2(found.overview, found.glass, is_tissue & ~is_fat, found.mpp)
        print(f"| {name} | {is_tissue.sum() * px_mm2:.2f} | {n_pieces} | {share} | {lumen:.3f} |", flush=True)
        shown = found.overview.copy()
        rims = cv2.findContours(is_tissue.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(shown, rims, -1, OUTLINE, max(2, shown.shape[1] // 250))
        height = round(WIDTH_PX * shown.shape[0] / shown.shape[1])
        pictures.append(cv2.resize(shown, (WIDTH_PX, height), interpolation=cv2.INTER_AREA))
    if arguments.picture is not None:
        Image.fromarray(np.concatenate(pictures)).save(arguments.picture, quality=80)


if __name__ == "__main__":
    main()
