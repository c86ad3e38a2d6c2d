"""Slides or tile images to feature files: jobs, the loop over blocks of tiles, a status for each.

What reads, what computes and what writes stands in `stream`, `device` and `store`; this room makes them one.

    extraction_settings.py  the settings of extract_features.py
    embedders.py            encoders made ready: built, bound to a device, described for the feature file
    jobs.py                 what one job is, and whether it needs doing at all
    slide_jobs.py           slides to jobs
    tile_table.py           tables of tile images, the form of the 2021 notebook
    table_cohort.py         the clinical table that a tile table implies
    tile_images.py          which of a table's images can be used, and why others cannot, a line a cause
    tile_fields.py          where the fields of an image lie (pure)
    image_stain.py          stain fits of a table's bags
    image_jobs.py           tile tables to jobs, one a bag
    loop.py                 the loop over blocks: read ahead, embed, log, write
    cluster_jobs.py         a slide as the job of a cluster's worker
    study_embedding.py      a study's slides or tile table to feature files and status tables
"""
