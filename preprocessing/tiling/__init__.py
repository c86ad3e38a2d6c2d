"""Slides to tile files: the grid, the file, the pictures to check, and the loop over a study's slides.

How tissue, quality and stains are found is not here but in the rooms below, which this one puts together.

    tiling_settings.py  the settings of tile_slides.py
    grid.py             the tile grid in micrometres
    tile_store.py       the tile file
    preview.py          the picture of a slide to check
    contact_sheet.py    one page with the previews of a cohort
    slide_tiles.py      one slide to its tile file, outline and preview
    study_tiles.py      the loop over slides
    tile_export.py      normalised tiles as images
"""
