"""What each tile contributed to a prediction, whether that can be believed, and maps of it at the right place.

How a head predicts stands in `heads`, an ensemble of them in `models`.

    tile_terms.py     the contribution of each tile to the outputs of one head: exact where the head is a sum over tiles
    contributions.py  contributions to what an ensemble says, by tile and by slide
    subsets.py        what heads say of some of a bag's tiles, without the first layer again
    flipping.py       tiles taken away in an order, and how soon the output falls: measures of one bag
    faithfulness.py   the same over all patients of a run: tests, and the verdict on the map
    place.py          where tiles lie on the slide as it is shown, and on a map of equal squares
    patients.py       who is explained by which heads: the run's patients by those that never saw them
    map_store.py      the file of a slide's contributions
    sheet_tiles.py    which tiles stand on the sheets
    explained.py      what is told of a patient that was explained
    one_patient.py    a patient explained, by whichever process
    explained_run.py  all patients explained, checked and written
    settings.py       the settings of explain.py
    page.py           the page of a run's explanation
"""
