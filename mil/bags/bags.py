"""Patient bags out of feature files: all slides of a patient, in the order of their ids, each tile's slide known.

Files are ours, or those of CLAM, TRIDENT, STAMP or slideflow (features/exchange/folder.py). The order of a table's rows and of
a folder's files never matters.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64, Num

from common.arrays import read_attributes
from common.cohort import Cohort, read_cohort
from common.failures import StudyError
from common.guards.names import nearest
from common.slide_files import file_fingerprint
from common.study import Study
from features.exchange.bag import LEVEL0, OWN, ExchangeBag
from features.exchange.folder import (
    FeatureFolder,
    common_provenance,
    match_slides,
    open_folder,
    scale_of_table,
    scale_of_tile_files,
)
from features.store.provenance import Provenance

SUMMED = 4096  # tiles brought to double precision at once


@dataclass(frozen=True, kw_only=True)
class Bag:
    """The tiles of one patient: embeddings, and for each tile the slide (index into slide_ids) and its corner.

    `coords` are top left corners in level-0 pixels when `coords_unit` says so; features of other tools may come with
    other numbers or with none. A tile table's bag knows the image of each tile (index into `images`).
    """

    patient_id: str
    slide_ids: tuple[str, ...]
    tiles: Float[np.ndarray, "tile dim"]
    slide_of_tile: Int64[np.ndarray, " tile"]
    coords: Num[np.ndarray, "tile_or_0 2"]
    coords_unit: str = LEVEL0
    images: tuple[str, ...] = ()
    image_of_tile: Int64[np.ndarray, " tile_or_none"] = field(default_factory=lambda: np.empty(0, np.int64))

    @cached_property
    def moments(self) -> tuple[Float64[np.ndarray, " dim"], Float64[np.ndarray, " dim"]]:
        """The mean of the tiles and that of their squares, in bounded memory; summed once, every fold wants them."""
        sums, squares = np.zeros(self.tiles.shape[1]), np.zeros(self.tiles.shape[1])
        for start in range(0, len(self.tiles), SUMMED):
            own = self.tiles[start : start + SUMMED].astype(np.float64)
            sums += own.sum(axis=0)
            squares += np.einsum("td,td->d", own, own)
        return sums / len(self.tiles), squares / len(self.tiles)

    @property
    def mean_tile(self) -> Float64[np.ndarray, " dim"]:
        """The mean of the tiles."""
        return self.moments[0]

    def with_tiles(self, chosen: Int64[np.ndarray, " chosen"]) -> Bag:
        """Return the bag with these of its tiles alone."""
        return replace(
            self, tiles=self.tiles[chosen], slide_of_tile=self.slide_of_tile[chosen],
            coords=self.coords[chosen] if len(self.coords) else self.coords,
            image_of_tile=self.image_of_tile[chosen] if len(self.image_of_tile) else self.image_of_tile,
        )  # fmt: skip


class BagStore:
    """Bags read on demand; those used last stay in memory up to a limit."""

    def __init__(
        self,
        slides: Mapping[str, Sequence[str]],
        folder: FeatureFolder,
        provenance: Provenance,
        *,
        limit_bytes: int,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        self._sizes = dict(sizes or {})  # tiles of a slide, where its file was looked at
        self._slides = {patient: sorted(own) for patient, own in slides.items()}
        self._folder, self.provenance = folder, provenance
        self._limit, self._held = limit_bytes, 0
        self._bags: OrderedDict[str, Bag] = OrderedDict()
        self._fingerprints: dict[str, list[str]] = {}

    @property
    def patients(self) -> list[str]:
        """The patients with features, sorted."""
        return sorted(self._slides)

    def slides_of(self, patient_id: str) -> list[str]:
        """The slides of a patient's bag, sorted."""
        return list(self._slides[patient_id])

    def n_tiles(self, patient_id: str) -> int:
        """Return the number of tiles of a patient, without reading them."""
        own = self._slides[patient_id]
        self._sizes |= {slide: self._folder.header(slide).n_tiles for slide in own if slide not in self._sizes}
        return sum(self._sizes[slide] for slide in own)

    @property
    def file_bytes(self) -> int:
        """The size of all its files: about what the bags take in memory."""
        return sum(self._folder.files[slide].stat().st_size for own in self._slides.values() for slide in own)

    def of(self, patient_id: str) -> BagStore:
        """Return the bags of one patient alone, not read yet: what a worker needs of them."""
        return BagStore(
            {patient_id: self._slides[patient_id]}, self._folder.of(self._slides[patient_id]), self.provenance,
            limit_bytes=self._limit,
        )  # fmt: skip

    def fingerprint(self, patient_id: str) -> list[str]:
        """What identifies a patient's features: the checksums of its files, looked up once."""
        if patient_id not in self._fingerprints:
            files = [self._folder.files[slide] for slide in self._slides[patient_id]]
            self._fingerprints[patient_id] = [self._fingerprint(path) for path in files]
        return list(self._fingerprints[patient_id])

    def _fingerprint(self, path: Path) -> str:
        is_ours = self.provenance.layout == OWN
        return str(read_attributes(path)["content_sha256"]) if is_ours else file_fingerprint(path)

    def read(self, patient_id: str) -> Bag:
        """Return a patient's bag.

        Raises:
            StudyError: a feature file is damaged.
        """
        if patient_id in self._bags:
            self._bags.move_to_end(patient_id)
            return self._bags[patient_id]
        bag = _read_bag(patient_id, self._slides[patient_id], self._folder)
        self._bags[patient_id] = bag
        self._held += bag.tiles.nbytes
        while self._held > self._limit and len(self._bags) > 1:
            _, oldest = self._bags.popitem(last=False)
            self._held -= oldest.tiles.nbytes
        return bag


def bags_as_trained(
    study: Study, settings: Mapping[str, Any], *, by_slide: bool, features: Path | None = None, encoder: str = "",
    limit_bytes: int = 4 << 30,
) -> BagStore:  # fmt: skip
    """Return the bags that a finished run was trained on.

    Args:
        study: with the clinical table.
        settings: of the run: its encoder, folder of features and condition on rows; what is not there is not asked for.
        by_slide: whether a bag is a slide.
        features: instead of the settings', a folder of feature files.
        encoder: where the settings name none.
        limit_bytes: memory for bags.

    Raises:
        StudyError: table or features are gone or damaged.
    """
    cohort = read_cohort(study.cohort_table, where=settings.get("where"))
    given = settings.get("features") if features is None else features
    bags, _, _ = open_bags(
        study, cohort.by_slide if by_slide else cohort, str(settings.get("encoder") or encoder),
        features=None if given is None else Path(given), limit_bytes=limit_bytes,
    )  # fmt: skip
    return bags


def open_bags(
    study: Study, cohort: Cohort, encoder: str, *, features: Path | None = None, limit_bytes: int = 4 << 30
) -> tuple[BagStore, dict[str, str], list[str]]:
    """Find the feature files of a cohort and check that all were made alike.

    Args:
        study: where our own feature files are.
        cohort: the patients and slides wanted.
        encoder: whose features.
        features: instead, a folder of feature files of any tool.
        limit_bytes: memory for bags.

    Returns:
        The bags; patients without any feature file, with the reason; slides without one.

    Raises:
        StudyError: there are no feature files, one is unreadable, or two were made in different ways (the difference is
            named).
    """
    wanted = cohort.slides["slide_id"].tolist()
    command = f"python features/extract_features.py --study {study.root} --encoder {encoder}"
    remedy = f"make them again with one setting: {command}" if features is None else "give a folder of one kind"
    folder = _own(study, encoder, wanted) if features is None else _matched(features, study, cohort)
    headers = _headers(folder, command if features is None else "replace the file")
    slides: dict[str, list[str]] = {}
    missing = []
    for patient, slide in zip(cohort.slides["patient_id"], wanted, strict=True):
        if slide in headers and headers[slide].n_tiles:
            slides.setdefault(patient, []).append(slide)
        else:
            missing.append(slide)
    if not slides:
        near = "" if features is not None or folder.root.is_dir() else nearest(encoder, study.embedded_encoders())
        raise StudyError(
            f"no feature files of this cohort in {folder.root}{near}; "
            + (f"make them with: {command}" if features is None else "their names are not the table's slide_id")
        )
    provenance = common_provenance({folder.files[slide]: header for slide, header in headers.items()}, remedy)
    lost = sorted(set(cohort.slides["patient_id"]) - set(slides))
    reasons = dict.fromkeys(lost, "none of its slides has features")
    sizes = {slide: header.n_tiles for slide, header in headers.items()}
    return BagStore(slides, folder, provenance, limit_bytes=limit_bytes, sizes=sizes), reasons, sorted(missing)


def _own(study: Study, encoder: str, wanted: Sequence[str]) -> FeatureFolder:
    paths = {slide: study.feature_file(encoder, slide) for slide in wanted}
    return FeatureFolder(root=study.features(encoder), files={s: p for s, p in paths.items() if p.is_file()})


def _matched(features: Path, study: Study, cohort: Cohort) -> FeatureFolder:
    """Return the files of the cohort's slides in a folder, with the scale of each slide that is known."""
    folder = open_folder(features)
    matched = match_slides(cohort.slides["slide_id"].tolist(), folder)
    mpp_of = scale_of_table(cohort) | scale_of_tile_files(study.tiles, matched)
    return replace(folder, files={slide: folder.files[own] for slide, own in matched.items()}, mpp_of=mpp_of)


def _headers(folder: FeatureFolder, remedy: str) -> dict[str, ExchangeBag]:
    try:
        return {slide: folder.header(slide) for slide in folder.files}
    except ValueError as error:
        raise StudyError(f"{error}: {remedy}") from error


def _read_bag(patient_id: str, slides: Sequence[str], folder: FeatureFolder) -> Bag:
    try:
        parts = [folder.read(slide) for slide in slides]
    except ValueError as error:
        raise StudyError(f"{error}: make it again, or remove it") from error
    units = {part.coords_unit for part in parts}
    is_placed = len(units) == 1 and all(len(part.coords) == len(part.features) for part in parts)
    images: list[str] = []
    image_of_tile = []
    for part in parts:
        if len(part.image_index):
            image_of_tile.append(part.image_index + len(images))
            images += json.loads(str(part.attributes["images"]))
    return Bag(
        patient_id=patient_id,
        slide_ids=tuple(part.slide_id for part in parts),
        tiles=parts[0].features if len(parts) == 1 else np.concatenate([part.features for part in parts]),
        slide_of_tile=np.repeat(np.arange(len(parts)), [len(part.features) for part in parts]).astype(np.int64),
        coords=np.concatenate([part.coords for part in parts]) if is_placed else np.empty((0, 2), np.int64),
        coords_unit=units.pop() if is_placed else "unknown",
        images=tuple(images),
        image_of_tile=np.concatenate(image_of_tile) if image_of_tile else np.empty(0, np.int64),
    )
