"""Maps as other programs read them, each in bounded memory.

colours.py   the signed scale, safe for the colour-blind
overlay.py   a picture of the slide with the map on it (PNG)
pyramid.py   the map's numbers as a pyramid (OME-TIFF)
qupath.py    tiles with measurements, and tissue (GeoJSON as QuPath reads it)
dicom.py    the map's numbers as a DICOM parametric map, beside a DICOM slide
sheets.py    the tiles that speak most for and against an output, side by side (PNG)
written.py   all exports of a slide, written where its file is there
"""
