"""Open slides: a file of any format as one kind of handle, any area of it at any scale in micrometres.

Pixels come out as the file has them: what is tissue, pen or colour on them is judged in other rooms, and nothing is
written here.

    handles.py           what opens a file: OpenSlide, a flat image or DICOM; turned upright as its orientation tag says
    flat_tiff.py         plain and striped TIFF in OpenSlide's shape, decoded strip by strip
    tiff_page.py         one page of a TIFF: its samples, the bits in use, and these as RGB
    flat_picture.py      PNG and JPEG, decoded whole, and what all flat readers share
    flat_dicom.py        DICOM slides that OpenSlide refuses, in its shape
    dicom_frames.py      frames of a DICOM file, decoded to 8-bit RGB
    scale.py             µm a pixel on both axes: table, flag or file, checked
    slide.py             an open slide: any area of it at any scale
    survey.py            the whole slide read once at about one scale, unreadable regions marked
    jpeg_tiles.py        a TIFF's or SVS's own JPEG tiles, each decoded about once
    handle.py            the contract of an open slide file, whoever reads it
    openslide_handle.py  a slide that OpenSlide reads, as a handle; levels in SubIFDs beside it
    jpeg_colours.py      what a JPEG stream itself says of its colours
    levels.py            which levels of a pyramid show the slide
    upright.py           a handle turned upright, where the file says that it lies on its side
"""
