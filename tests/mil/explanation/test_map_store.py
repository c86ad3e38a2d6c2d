"""Maps of slides as files: what was written is read, and damage behind a right checksum is one message."""

import json

import numpy as np
import pytest

from common.arrays import read_arrays, write_arrays
from mil.explanation.map_store import SlideMap, read_slide_map, write_slide_map


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "map.h5"
    own = SlideMap(
        slide_id="S1", patient_id="P1", outputs=("LMS", "UPS"), told="LMS", contributions=np.arange(10.0).reshape(5, 2),
        attention=np.full(5, 0.2), coords=np.arange(10).reshape(5, 2), coords_unit="level-0 px",
        known={"task": "subtype", "base": [0.1, 0.2], "model_sha256": "0" * 64},
    )  # fmt: skip
    write_slide_map(path, own)
    return path, own


def test_what_was_written_is_read(written):
    path, own = written
    found = read_slide_map(path)
    assert (found.slide_id, found.patient_id, found.told, found.outputs) == ("S1", "P1", "LMS", ("LMS", "UPS"))
    assert (found.contributions == own.contributions).all()
    assert (found.coords == own.coords).all()
    assert (found.attention == own.attention).all()
    assert found.known == {"task": "subtype", "base": json.dumps([0.1, 0.2]), "model_sha256": "0" * 64}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"told": None}, "told"),
        ({"outputs": "["}, "Expecting value"),
        ({"outputs": "7"}, "iterable"),
        ({"schema": "map/0"}, "not of format"),
        ({"attention": None}, "attention"),
    ],
)
def test_d2_a_map_that_lacks_something_is_named_with_what_it_lacks(written, change, said):
    path, _ = written
    file = read_arrays(path)
    arrays, attributes = dict(file.arrays), {k: v for k, v in file.attributes.items() if not k.startswith("content")}
    for name, value in change.items():
        arrays.pop(name, None)
        attributes.pop(name, None)
        if value is not None:
            attributes[name] = value
    write_arrays(path, arrays, attributes)  # with a right checksum
    with pytest.raises(ValueError, match=rf"map\.h5.*{said}.*mil/explain\.py"):
        read_slide_map(path)
