"""What colour maps do to real slides: hues of pink ground, nuclei and red cells before and after, by method; and a picture.

    python benchmarks/real_colour.py SLIDES [--mpp mpp.csv] [--picture strips.png]

SLIDES is a folder of H&E slides; mpp.csv (columns slide_id, mpp) gives scales that the files lack. Kinds of pixels are told
apart here by rules of their own, on single pixels of the scan, not by those of the fit: pink has an eosin's hue and less
red density than Otsu's threshold on the slide, nuclei are the darkest part in red beyond it, red cells take hardly any red
and much blue. Hues are medians of atan2(b, a) in CIELAB, degrees; `apart` is how much bluer nuclei are than the pink;
`violet` is the share of pink pixels that become bluer than -42 degrees.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.filters import threshold_otsu

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.real_slides import real_slides
from preprocessing.colour.cielab import hue_and_chroma
from preprocessing.colour.colour_map import apply_map
from preprocessing.colour.colour_strip import colour_strip
from preprocessing.colour.optical_density import optical_density
from preprocessing.colour.stain import REFERENCE, fit_stain, stain_map
from preprocessing.tiling.slide_stain import slide_patches
from preprocessing.tiling.tile_choice import choose_tiles
from preprocessing.tiling.tiling_settings import TilingConfig
from preprocessing.tissue.segmentation import segment_slide

METHODS = ("vahadane", "macenko", "reinhard")
VIOLET = -42.0


def kinds_of_pixels(od: np.ndarray) -> dict[str, np.ndarray]:
    """Say which densities (n, 3) of a scan are pink ground, nuclei and red cells."""
    red, green, blue = od.T
    hue, chroma = hue_and_chroma(od)
    is_stained = od.max(axis=1) > 0.15
    threshold = threshold_otsu(red[is_stained])
    dark = (threshold + np.percentile(red[is_stained], 97)) / 2
    is_red_cell = is_stained & (red < 0.5 * green) & (blue > 0.72 * green) & (green > 0.4)
    is_pink = is_stained & ~is_red_cell & (chroma > 8) & (red < 0.8 * threshold) & (red < 0.75 * green)
    return {
        "pink": is_pink & (hue > -45) & (hue < 30),
        "nuclei": is_stained & (red > dark) & (blue < 1.1 * green) & ~is_red_cell,
        "red cells": is_red_cell,
    }


def row(name: str, patches: list[np.ndarray], glass: tuple[float, float, float], method: str) -> tuple[str, object]:
    """Return a line of the table, and the map."""
    fit = fit_stain(patches, method=method, glass=glass)
    pixels = np.concatenate([patch[::3, ::3].reshape(-1, 3) for patch in patches])
    before = optical_density(pixels, glass).astype(np.float64)
    to_target = stain_map(fit, REFERENCE)
    after = optical_density(apply_map(pixels, to_target)).astype(np.float64)
    kinds = kinds_of_pixels(before)
    hues = {
        kind: [hue_and_chroma(od[mask])[0] for od in (before, after)] for kind, mask in kinds.items() if mask.sum() > 50
    }
    cells = [
        f"{np.median(hues[kind][0]):.0f} -> {np.median(hues[kind][1]):.0f}" if kind in hues else "" for kind in kinds
    ]
    apart = np.median(hues["pink"][1]) - np.median(hues["nuclei"][1]) if {"pink", "nuclei"} <= set(hues) else np.nan
    turned = np.mean((hues["pink"][1] < VIOLET) & (hues["pink"][0] >= VIOLET)) if "pink" in hues else np.nan
    taken = fit.method if fit.strength == 1 else f"{fit.method} {fit.strength:.0%}"
    return f"| {name} | {method} | {taken} | {' | '.join(cells)} | {apart:.0f} | {turned:.0%} |", to_target


def main() -> None:
    arguments, slides = real_slides(__doc__)
    reference = hue_and_chroma(REFERENCE.basis[1:])[0][0]
    print(f"hue of the reference's pink {reference:.0f}\n")
    print(
        "| slide | asked for | taken | pink | nuclei | red cells | apart | violet |\n|---|---|---|---|---|---|---|---|"
    )
    strips = []
    config = TilingConfig()
    for name, slide in slides:
        masks = segment_slide(slide)
        patches = slide_patches(slide, choose_tiles(slide, masks, config), masks, config)
        for method in METHODS:
            line, to_target = row(name, patches, masks.glass, method)
            print(line, flush=True)
            if method == METHODS[0]:
                strips.append(colour_strip(patches, to_target))
    if arguments.picture is not None:
        width = max(strip.shape[1] for strip in strips)
        padded = [np.pad(strip, ((0, 8), (0, width - strip.shape[1]), (0, 0)), constant_values=255) for strip in strips]
        Image.fromarray(np.concatenate(padded)).save(arguments.picture)


if __name__ == "__main__":
    main()
