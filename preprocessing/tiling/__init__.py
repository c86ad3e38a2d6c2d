"""Slides to tile files: the grid, the file, the pictures to check, and the loop over a study's slides.

How tissue, quality and stains are found is not here but in the rooms below, which this one puts together.

    tiling_settings.py  the settings of tile_slides.py
    grid.py             the tile grid in micrometres
    tile_store.py       the tile file
    preview.py          the picture of a slide to check
    contact_sheet.py    one page with the previews of a cohort
    slide_tiles.py      the tiles of one slide as a value
    study_tiles.py      the loop over slides
    tile_export.py      normalised tiles as images
    tile_choice.py      which tiles are kept: grid, quality, what cannot be read
    slide_stain.py      a slide's stain fit from patches over its tissue
    tiled_slide.py      what tiling one open slide comes to; nothing is written
    tiling_job.py       one slide to its files: kept where they are current, else made, then written
    export_folder.py    the folder of a slide's exported tiles, whole or absent
    study_export.py     the loop over slides to images, and key.csv
    stain_reference.py  one stain reference out of the fits of chosen slides
"""
