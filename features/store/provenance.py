"""What made the embeddings of a feature file: one value, written with each file, read back from it, compared between files.

Its fields bear the names that stand in feature files, run records and model files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

Stated = str | int | float | bool  # what an attribute of a file can be

UNKNOWN = "unknown"
# what must agree between the bags of one training run, and between a model and the features it is given
MUST_AGREE = ("encoder", "weights_sha256", "transform", "stain", "stain_reference", "tile_um", "tile_px", "precision")
# the attributes of a feature file that may differ between the slides of a run
OF_ONE_SLIDE = (
    "schema", "slide_id", "content_sha256", "tile_fingerprint", "mpp_x", "mpp_y", "mpp_source", "stain_fit", "images",
    "images_left_out", "n_images_scaled_up", "unused_share", "stain_fallback", "images_undecoded", "reading",
)  # fmt: skip
# all attributes that are known before a slide is embedded, in the order in which a file is given them
WRITING_ORDER = (
    "encoder", "encoder_source", "weights_sha256", "licence", "dimension", "transform", "runtime", "precision", "schema",
    "stain", "stain_fit", "stain_reference", "tile_um", "tile_px", "mpp_x", "mpp_y", "mpp_source", "images",
    "images_left_out", "n_images_scaled_up", "unused_share", "stain_fallback",
    "tile_fingerprint", "scale_columns", "hed_copies", "hed_strength",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Encoder, colours and tiles behind embeddings; alike for all slides of a run.

    None is what was not said at all, "unknown" what the layout of another tool has no place for.
    """

    encoder: Stated | None = None
    encoder_source: Stated | None = None
    weights_sha256: Stated | None = None
    licence: Stated | None = None
    dimension: int | None = None  # numbers a tile, of one scale
    transform: Stated | None = None  # of the encoder, before its network
    runtime: Stated | None = None
    precision: Stated | None = None
    stain: Stated | None = None  # "normalised" or "none"
    stain_reference: Stated | None = None
    tile_um: Stated | None = None  # side of a tile, micrometres; 0: of a tile table's images
    tile_px: Stated | None = None
    target_magnification: Stated | None = None  # TRIDENT's
    overlap: Stated | None = None  # TRIDENT's
    layout: Stated | None = None  # of the files that were read; none for files that are being made
    n_features: int | None = None  # numbers a tile in these files
    others: Mapping[str, Stated] = field(
        default_factory=dict
    )  # what else was said, such as the columns of several scales
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)  # what was said, in its order

    @classmethod
    def of_record(cls, record: Mapping[str, Stated]) -> Provenance:
        """Return what a record says, whatever else stands in it."""
        known = {own.name for own in fields(cls)} - {"others", "names"}
        others = {name: value for name, value in record.items() if name not in known}
        said = {name: value for name, value in record.items() if name in known}
        return cls(**said, others=others, names=tuple(record))  # type: ignore[arg-type]

    @classmethod
    def of_file(cls, attributes: Mapping[str, Stated], *, layout: str, n_features: int) -> Provenance:
        """Return what a feature file's attributes say of all slides alike."""
        shared = {name: value for name, value in attributes.items() if name not in OF_ONE_SLIDE}
        return cls.of_record(shared | {"layout": layout, "n_features": n_features})

    def record(self) -> dict[str, Stated]:
        """Return what is said under its names, for attributes and JSON: `of_record` reads it back."""
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("others", "names")}
        said = {name: value for name, value in own.items() if value is not None} | dict(self.others)
        first = [name for name in self.names if name in said]
        return {name: said[name] for name in (*first, *(name for name in said if name not in first))}

    def difference(self, other: Provenance, names: tuple[str, ...] = MUST_AGREE) -> tuple[str, object, object] | None:
        """Return the first of these names that two do not agree in, with both values; None where they agree."""
        one, two = self.record(), other.record()
        return next(((name, one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)), None)


def file_attributes(provenance: Provenance, of_slide: Mapping[str, Stated]) -> dict[str, Stated]:
    """Return the attributes of the feature file of one slide, all that is known before it is embedded."""
    attributes = provenance.record() | dict(of_slide)
    assert set(attributes) <= set(WRITING_ORDER), f"no place for {set(attributes) - set(WRITING_ORDER)}"
    return {name: attributes[name] for name in WRITING_ORDER if name in attributes}
