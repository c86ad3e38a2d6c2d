"""Where the tissue of a slide is: masks, and outlines that a person can edit.

Which tiles lie on it is decided in `tiling`, how good they are in `quality`.

    density_bytes.py  optical densities of an overview in bytes, the same on every machine
    mask_shapes.py    connected parts and widths of masks
    pen_strokes.py    strokes of pen on an overview
    open_fat.py       thin walls that enclose fat cells, and clear ground that only stray light darkens
    overview_mask.py  tissue and glass on an overview
    segmentation.py   the masks of a whole slide, edges looked at twice
    outline.py        tissue outlines as GeoJSON, ours and edited ones
    ring_numbers.py   whether coordinates of GeoJSON are numbers
    source.py         edited outline, mask of another tool, or our segmentation: which one a slide's tiles are laid over
    given_files.py    masks and outlines of a study by the names of slides, and those of none
    mask_image.py     the tissue of a slide out of another tool's mask
"""
