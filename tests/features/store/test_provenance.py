"""Provenance: read back as it was written, order and unknown attributes kept; what must agree is compared."""

import pytest

from features.store.provenance import MUST_AGREE, WRITING_ORDER, Provenance, file_attributes

RECORD = {
    "tile_px": 256, "encoder": "e", "scale_columns": "[]", "licence": "none", "stain": "none", "dimension": 4,
    "layout": "sarcoma-mil", "n_features": 4,
}  # fmt: skip


def test_a_record_is_read_back_with_its_order_and_what_no_field_names():
    provenance = Provenance.of_record(RECORD)
    assert (provenance.encoder, provenance.tile_px, provenance.weights_sha256) == ("e", 256, None)
    assert provenance.others == {"scale_columns": "[]"}
    assert list(provenance.record().items()) == list(RECORD.items())
    assert provenance == Provenance.of_record(dict(reversed(RECORD.items())))


def test_a_file_tells_what_its_slides_share_and_nothing_of_one_slide():
    attributes = {"encoder": "e", "slide_id": "s", "mpp_x": 0.5, "content_sha256": "0", "stain_fit": "vahadane", "x": 1}
    provenance = Provenance.of_file(attributes, layout="clam", n_features=7)
    assert provenance.record() == {"encoder": "e", "x": 1, "layout": "clam", "n_features": 7}


@pytest.mark.parametrize("name", MUST_AGREE)
def test_each_difference_that_counts_is_named_with_both_values(name):
    one = Provenance.of_record(dict.fromkeys(MUST_AGREE, "a"))
    assert one.difference(one) is None
    assert one.difference(Provenance.of_record(dict.fromkeys(MUST_AGREE, "a") | {name: "b"})) == (name, "a", "b")
    assert one.difference(Provenance.of_record({own: "a" for own in MUST_AGREE if own != name})) == (name, "a", None)
    assert one.difference(Provenance.of_record(one.record() | {"licence": "other"})) is None


def test_a_files_attributes_stand_in_one_order_whatever_made_them():
    provenance = Provenance.of_record({"tile_um": 0.0, "encoder": "e"})
    attributes = file_attributes(provenance, {"tile_fingerprint": "f", "schema": "features/1"})
    assert list(attributes) == ["encoder", "schema", "tile_um", "tile_fingerprint"]
    assert len(set(WRITING_ORDER)) == len(WRITING_ORDER)
    with pytest.raises(AssertionError, match="no place for"):
        file_attributes(provenance, {"never heard of": 1})
