"""Feature files of CLAM, TRIDENT, STAMP and slideflow: read as they are, and written.

Our own feature file has its room, `store`; a model that trains on either reads bags through this one.

    bag.py               a slide's embeddings in any layout; micrometres and centres to level-0 corners
    folder.py            a folder of feature files of any tool, checked
    layout_readers.py    a file of any tool: sent to its reader by its ending, completed, checked
    tensor_readers.py    layouts in .pt files: CLAM, slideflow
    layout_writers.py    the files of each tool, written
    layout_tables.py     the clinical table as CLAM, STAMP and slideflow want it
    record.py            the side file that makes the way back exact
    conversion.py        the loop over slides
    hdf5_readers.py      layouts in HDF5, told apart by what they hold: an entry a layout
    study_conversion.py  a study's features to another tool's layout, or a tool's to ours
"""
