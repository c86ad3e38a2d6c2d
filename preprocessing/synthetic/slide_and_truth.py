"""A synthetic slide with known truth: layout of the tissue, optics of a scanner, and a pyramidal TIFF OpenSlide opens.

Densities become light by Beer and Lambert: I = glass * 10^-(H * h + E * e), with stain vectors of the site and slide.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from common.files import settings_text
from preprocessing.synthetic.further_layout import FURTHER, SCALES_UM, FurtherKinds
from preprocessing.synthetic.layout import Layout, SlideRecipe, lay_out
from preprocessing.synthetic.painter import COARSE_UM
from preprocessing.synthetic.scanner import render, stain_matrix, write_pyramid


def make_slide(recipe: SlideRecipe, slide_path: Path, truth_path: Path) -> str:
    """Paint a slide and write it with its truth; a finished pair made from the same recipe is kept.

    Returns "made" or "kept".
    """
    recipe_text = settings_text({**recipe_settings(recipe), "painter": 4})
    if truth_path.is_file() and slide_path.is_file() and _made_from(truth_path) == recipe_text:
        return "kept"
    rng = np.random.default_rng(recipe.seed)
    layout = lay_out(recipe, rng)
    image = render(recipe, layout, rng)
    write_pyramid(slide_path, image, recipe.mpp, is_single_level=recipe.is_single_level)
    write_truth(truth_path, recipe, layout, recipe_text)  # last: its presence says that the slide is whole
    return "made"


def recipe_settings(recipe: SlideRecipe) -> dict[str, object]:
    """Return a recipe's values; a further kind the slide does not have is left out, as before there were any."""
    unset = {field.name for field in fields(FurtherKinds) if getattr(recipe, field.name) == field.default}
    return {name: value for name, value in asdict(recipe).items() if name not in unset}


def _made_from(truth_path: Path) -> str:
    try:
        return str(json.loads(truth_path.read_text(encoding="utf-8"))["recipe"])
    except (ValueError, KeyError):
        return ""


def write_truth(path: Path, recipe: SlideRecipe, layout: Layout, recipe_text: str) -> None:
    """Write polygons (level-0 px), stain vectors and flags of a slide as JSON."""
    scale = COARSE_UM / recipe.mpp
    tissue = layout.fields["tissue"]
    regions = {"tissue": tissue, "blur": layout.fields.get("blur"), "pen": layout.fields.get("pen")}
    tumour = np.minimum(layout.fields["tumour"], -layout.fields["necrosis"])
    regions["tumour"] = tumour
    regions["necrosis"] = np.minimum(layout.fields["necrosis"], tissue)
    fat = np.minimum(layout.fields["fat"], -layout.fields["necrosis"])
    further = {name: layout.fields[name] for name in FURTHER if name in layout.fields}
    for kind in SCALES_UM:  # a further kind takes the place of what was there; necrosis has none in it
        if kind in further:
            tumour, fat = (np.minimum(field, -further[kind]) for field in (tumour, fat))
    regions |= {"tumour": np.minimum(tumour, tissue), "fat": np.minimum(fat, tissue), **further}
    truth = {
        "slide_id": recipe.slide_id,
        "mpp": recipe.mpp,
        "size": [round(recipe.width_mm * 1000 / recipe.mpp), round(recipe.height_mm * 1000 / recipe.mpp)],
        "stain_matrix": stain_matrix(recipe).tolist(),
        "intensities": list(recipe.intensities),
        "polygons": {name: _polygons(field, scale) for name, field in regions.items() if field is not None},
        "recipe": recipe_text,
    }
    from common.files import write_json

    write_json(path, truth)


def _polygons(field: Float32[np.ndarray, "h w"], scale: float) -> list[list[list[float]]]:
    """Return the rings where a field is zero, in level-0 px; rings inside rings are holes (even-odd rule)."""
    from skimage.measure import find_contours

    padded = np.pad(field, 1, constant_values=-1.0)
    # a coarse value stands at its pixel's centre, as in the bilinear enlargement
    rings = [(ring - 1 + 0.5) * scale for ring in find_contours(padded, 0.0) if len(ring) >= 4]
    return [[[round(float(x), 1), round(float(y), 1)] for y, x in ring] for ring in rings]


def read_truth_mask(path: Path, kind: str, mpp: float) -> Bool[np.ndarray, "h w"]:
    """Rasterise one kind of region of a truth file at `mpp` (even-odd rule)."""
    from PIL import Image, ImageChops, ImageDraw

    truth = json.loads(path.read_text(encoding="utf-8"))
    scale = truth["mpp"] / mpp
    size = (round(truth["size"][0] * scale), round(truth["size"][1] * scale))
    mask = Image.new("1", size)
    for ring in truth["polygons"].get(kind, []):
        part = Image.new("1", size)
        ImageDraw.Draw(part).polygon([(x * scale - 0.5, y * scale - 0.5) for x, y in ring], fill=1)
        mask = ImageChops.logical_xor(mask, part)
    return np.asarray(mask)
