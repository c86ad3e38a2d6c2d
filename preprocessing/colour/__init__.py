"""The colours of a slide: its stains fitted once, and the map that brings its pixels to a reference.

Slides are opened and tiles cut elsewhere; here come pixels in and pixels out. Colour as a sign of artefacts is in
`quality`.

    optical_density.py     8-bit pixels to optical density
    cielab.py              sRGB to CIELAB, and Reinhard's transfer as an affine map
    ink.py                 colours of ink: on tiles, and kept out of stain fits
    tissue_kinds.py        nuclei, ground, the pink part of it, red cells: told apart before stains are sought
    colour_effect.py       what a map does to them: hues before and after, and what is a harm
    stain_samples.py       what a fit looks at: stained pixels, smoothed means of small blocks
    stain_matrix.py        two stain vectors: Macenko's angles, Vahadane's sparse factors
    stain.py               a slide's fit (SPCN, Macenko, Reinhard), its guards, and the map to a reference
    stain_store.py         how a fit is kept; references from files
    colour_formula.py      the colour map as a formula
    colour_map.py          the colour map applied, pixel by pixel or by a table of all colours
    colour_strip.py        patches before and after the map, to look at
    stain_augmentation.py  stains scaled and shifted, for extra feature copies
"""
