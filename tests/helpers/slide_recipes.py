"""A recipe of a small synthetic slide."""

from preprocessing.synthetic.layout import SlideRecipe


def recipe(**changes):
    settings = {
        "slide_id": "x", "subtype": "LMS", "seed": (1, 2), "mpp": 0.5, "width_mm": 1.2, "height_mm": 1.0, "n_pieces": 1,
        "tumour_share": 0.5, "necrosis_share": 0.15, "fat_share": 0.2, "mitotic_density": 0.5,
        "haematoxylin": (0.56, 0.72, 0.41), "eosin": (0.22, 0.80, 0.56), "intensities": (0.6, 0.5),
        "glass": (243.0, 241.0, 244.0),
    }  # fmt: skip
    return SlideRecipe(**{**settings, **changes})
