"""Patient bags out of feature files: all slides of a patient, in the order of their ids, each tile's slide known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Int64

from common.artifacts import read_attributes
from common.cohort import Cohort
from common.failures import StudyError
from common.study import Study
from features.feature_store import MADE_ALIKE, read_feature_bag


@dataclass(frozen=True, kw_only=True)
class Bag:
    """The tiles of one patient: embeddings, and for each tile the slide (index into slide_ids) and its corner."""

    patient_id: str
    slide_ids: tuple[str, ...]
    tiles: Float16[np.ndarray, "tile dim"]
    slide_of_tile: Int64[np.ndarray, " tile"]
    coords: Int64[np.ndarray, "tile 2"]


class BagStore:
    """Bags read on demand; those used last stay in memory up to a limit."""

    def __init__(self, files: Mapping[str, Sequence[Path]], made_by: Mapping[str, Any], *, limit_bytes: int) -> None:
        self._files, self.made_by = dict(files), dict(made_by)
        self._limit, self._held = limit_bytes, 0
        self._bags: OrderedDict[str, Bag] = OrderedDict()

    @property
    def patients(self) -> list[str]:
        """The patients with features, sorted."""
        return sorted(self._files)

    def slides_of(self, patient_id: str) -> list[str]:
        """The slides of a patient's bag, sorted."""
        return [path.stem for path in self._files[patient_id]]

    def fingerprint(self, patient_id: str) -> list[str]:
        """What identifies a patient's features: the checksums of its files."""
        return [str(read_attributes(path)["content_sha256"]) for path in self._files[patient_id]]

    def read(self, patient_id: str) -> Bag:
        """Return a patient's bag.

        Raises:
            StudyError: a feature file is damaged.
        """
        if patient_id in self._bags:
            self._bags.move_to_end(patient_id)
            return self._bags[patient_id]
        bag = _read_bag(patient_id, self._files[patient_id])
        self._bags[patient_id] = bag
        self._held += bag.tiles.nbytes
        while self._held > self._limit and len(self._bags) > 1:
            _, oldest = self._bags.popitem(last=False)
            self._held -= oldest.tiles.nbytes
        return bag


def open_bags(
    study: Study, cohort: Cohort, encoder: str, *, limit_bytes: int = 4 << 30
) -> tuple[BagStore, dict[str, str], list[str]]:
    """Find the feature files of a cohort and check that all were made alike.

    Returns:
        The bags; patients without any feature file, with the reason; slides without one.

    Raises:
        StudyError: there are no feature files, one is unreadable, or two were made in different ways (the difference is
            named).
    """
    files: dict[str, list[Path]] = {}
    missing: list[str] = []
    for patient, slide in zip(cohort.slides["patient_id"], cohort.slides["slide_id"], strict=True):
        path = study.feature_file(encoder, slide)
        if path.is_file():
            files.setdefault(patient, []).append(path)
        else:
            missing.append(slide)
    command = f"python features/extract_features.py --study {study.root} --encoder {encoder}"
    if not files:
        raise StudyError(f"no feature files of this cohort in {study.features(encoder)}; make them with: {command}")
    made_by = _made_alike([path for paths in files.values() for path in paths], command)
    lost = sorted(set(cohort.slides["patient_id"]) - set(files))
    reasons = dict.fromkeys(lost, "none of its slides has features")
    return BagStore(files, made_by, limit_bytes=limit_bytes), reasons, sorted(missing)


def _made_alike(paths: Sequence[Path], command: str) -> dict[str, Any]:
    first_path, first = None, {}
    for path in sorted(paths):
        try:
            attributes = read_attributes(path)
        except ValueError as error:
            raise StudyError(f"{error}: {command}") from error
        alike = {name: attributes.get(name) for name in MADE_ALIKE}
        if first_path is None:
            first_path, first = path, dict(attributes)
            continue
        for name, value in alike.items():
            if value != first.get(name):
                raise StudyError(
                    f"features were made in two ways: {name} is {first.get(name)!r} in {first_path.name} and {value!r} in "
                    f"{path.name}; make them again with one setting: {command}"
                )
    own = ("slide_id", "content_sha256", "tile_fingerprint", "mpp_x", "mpp_y", "mpp_source", "stain_fit", "images")
    return {name: value for name, value in first.items() if name not in own}


def _read_bag(patient_id: str, paths: Sequence[Path]) -> Bag:
    parts = []
    for path in paths:
        try:
            parts.append(read_feature_bag(path))
        except ValueError as error:
            raise StudyError(f"{error}: features/extract_features.py makes it again") from error
    return Bag(
        patient_id=patient_id,
        slide_ids=tuple(part.slide_id for part in parts),
        tiles=np.concatenate([part.features for part in parts]),
        slide_of_tile=np.repeat(np.arange(len(parts)), [len(part.features) for part in parts]).astype(np.int64),
        coords=np.concatenate([part.coords for part in parts]),
    )
