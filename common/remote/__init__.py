"""Slides that lie elsewhere: asked for, fetched whole into a bounded cache on this disk, checked, and opened from there.

A connection is opened only for a slide whose row of the clinical table gives an address, and only to the host named there. What an
address holds beside host and path (name, password, a signature) is never printed or written. Which slides a study has stands in
common/tables/study_slides.py.

    address.py      an address, and what of it may be shown
    source.py       what a place tells and hands over, as a contract
    web_server.py   http and https, by the standard library
    file_system.py  all other places, by fsspec
    fetching.py     a file fetched whole: tried again, gone on with, checked
    locks.py        shared and sole locks between processes
    slide_cache.py  the bounded folder of fetched slides
    remote_slide.py a slide elsewhere as a path, and what is remembered of it
    ahead.py        slides fetched while those before them are worked on
"""
