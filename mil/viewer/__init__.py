"""The viewer: a page on this computer alone that shows slides, maps of tiles, predictions and truth of a run.

Why a canvas of its own and no library for maps: it is the only way without eval in the page's content policy, with one code for
every Python from 3.11 on, pixels exactly in their place and stale requests given up; the bytes are served by Starlette.

    settings.py     the settings of serve.py
    catalogue.py    which patients and slides there are, what a run says of them, what is odd about them
    open_slides.py  slides held open, a few at a time; squares of them as JPEG
    layers.py       what is known of each tile of a slide, and where the tiles lie
    neighbours.py   the tiles most like a tile, by their embeddings
    curves.py       survival curves of the run's risk groups, and the one predicted for a patient
    guard.py        which requests are answered: own host, own page, reading only
    app.py          the addresses, and what each answers
    server.py       finds a free port and serves until it is stopped
"""
