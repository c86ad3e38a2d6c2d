"""How good each tile is, and which tiles to leave out for it.

Whether a place is tissue at all is `tissue`'s matter; colours are judged here, never changed.

    artefacts.py    folds, blood, necrosis-like ground: masks by colour and shape
    measures.py     per tile sharpness and artefacts; which tiles to leave out; flags of a slide
    closer_look.py  the reading pass over every tile of a slide that measures them
"""
