"""Slides to tiles: tissue found, a grid laid, quality judged, and a fit of each slide's stains. Imports no torch.

For notebooks and other programs: each function takes a study (its folder will do) and the settings of the script it
stands for, and returns a value; nothing is printed but progress.

    from pathlib import Path

    from preprocessing import TilingConfig, tile_study
    tiled = tile_study(Path("study"), TilingConfig(tile_um=128))

Names are imported when they are first asked for, so that a script's --help loads nothing heavy.
"""

from common.public_names import lazily

_PLACES = {  # name: the module that has it
    "CheckConfig": "preprocessing.checks.check_settings",
    "DemoConfig": "preprocessing.synthetic.demo_settings",
    "ExportConfig": "preprocessing.tiling.tiling_settings",
    "StainReferenceConfig": "preprocessing.tiling.tiling_settings",
    "TilingConfig": "preprocessing.tiling.tiling_settings",
    "aggregate_stains": "preprocessing.tiling.stain_reference",
    "draw_contact_sheet": "preprocessing.tiling.contact_sheet",
    "examine_study": "preprocessing.checks.study_check",
    "export_study": "preprocessing.tiling.study_export",
    "open_slide": "preprocessing.reading.slide",
    "paint_study": "preprocessing.synthetic.demo_study",
    "read_slide_tiles": "preprocessing.tiling.tile_store",
    "tile_study": "preprocessing.tiling.study_tiles",
}
__all__ = list(_PLACES)
__getattr__, __dir__ = lazily(__name__, _PLACES)
