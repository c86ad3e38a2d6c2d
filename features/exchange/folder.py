"""A folder of feature files of any tool: which file is which slide's, and whether all were made alike.

Folders are taken as their tools leave them: CLAM's with h5_files/ and pt_files/ (or one of the two), a TRIDENT job or one
of its features_<encoder>/, STAMP's <extractor>-<hash>/ with the subfolders of the slides, slideflow's bags, our own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from common.failures import StudyError
from features.exchange.bag import OWN, ExchangeBag, Source
from features.exchange.layout_readers import read_exchange_bag
from features.store.provenance import MUST_AGREE, UNKNOWN, Provenance
from preprocessing.reading.scale import given_scale

if TYPE_CHECKING:
    from common.cohort import Cohort

ENDINGS = (".h5", ".pt")
NAME_ENDINGS = ("_patches", ".features", "_features")  # what tools add to a slide's name
ALIKE = ("layout", "n_features", *MUST_AGREE, "target_magnification", "overlap")


@dataclass(frozen=True, kw_only=True)
class FeatureFolder:
    """The feature files of a folder, by slide id. `mpp_of` has the scale of slides for which it is known."""

    root: Path
    files: Mapping[str, Path]
    mpp_of: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    coordinates: Path | None = None  # CLAM's patches/

    def of(self, slide_ids: Sequence[str]) -> FeatureFolder:
        """Return the files of some slides alone."""
        mpp_of = {slide: self.mpp_of[slide] for slide in slide_ids if slide in self.mpp_of}
        return replace(self, files={slide: self.files[slide] for slide in slide_ids}, mpp_of=mpp_of)

    def read(self, slide_id: str) -> ExchangeBag:
        """Return a slide's bag.

        Raises:
            ValueError: its file is damaged or of no layout known here.
        """
        return self._read(slide_id, is_header=False)

    def header(self, slide_id: str) -> ExchangeBag:
        """Return what a slide's file tells, without its rows.

        Raises:
            ValueError: its file is damaged or of no layout known here.
        """
        return self._read(slide_id, is_header=True)

    def _read(self, slide_id: str, *, is_header: bool) -> ExchangeBag:
        path = self.files[slide_id]
        patches = None if self.coordinates is None else self.coordinates / path.with_suffix(".h5").name
        mpp = self.mpp_of.get(slide_id)
        source = Source(path=path, slide_id=slide_id, mpp=mpp, is_header=is_header)
        return read_exchange_bag(source, coordinate_file=patches)


def open_folder(
    folder: Path, *, mpp_of: Mapping[str, tuple[float, float]] | None = None, coordinates: Path | None = None
) -> FeatureFolder:
    """Find the feature files of a folder.

    Args:
        folder: as the tool left it.
        mpp_of: µm a level-0 pixel on x and y, by slide.
        coordinates: CLAM's folder of coordinate files; by default patches/ in the folder or beside it.

    Raises:
        StudyError: there is no such folder, it has no feature files, several TRIDENT encoders, or two files of one slide.
    """
    if not folder.is_dir():
        raise StudyError(f"no folder {folder}; give the folder in which a tool left its feature files")
    by_slide: dict[str, list[Path]] = {}
    for path in _feature_files(folder):
        by_slide.setdefault(slide_of_file(path), []).append(path)
    if not by_slide:
        raise StudyError(f"no feature files (.h5 or .pt) in {folder}")
    double = {slide: paths for slide, paths in by_slide.items() if len(paths) > 1}
    if double:
        slide, paths = min(double.items())
        named = " and ".join(str(path.relative_to(folder)) for path in paths)
        raise StudyError(
            f"{folder}: two files of one slide, {slide}: {named} ({len(double)} such slide(s)); keep one of each"
        )
    if coordinates is None:
        beside = [folder / "patches", folder.parent / "patches"]
        coordinates = next((own for own in beside if own.is_dir()), None)
    files = {slide: paths[0] for slide, paths in sorted(by_slide.items())}
    return FeatureFolder(root=folder, files=files, mpp_of=mpp_of or {}, coordinates=coordinates)


def _feature_files(folder: Path) -> list[Path]:
    """Return the feature files below a folder, by the habits of the tools."""
    direct = _files(folder.iterdir())
    if direct:
        return direct
    of_clam = {own.stem: own for name in ("pt_files", "h5_files") for own in _files_in(folder / name)}
    if of_clam:  # one truth: the .h5, which has coordinates; the .pt where there is no .h5
        return [of_clam[stem] for stem in sorted(of_clam)]
    of_trident = [own for own in sorted(folder.glob("**/features_*")) if _files_in(own)]
    if len(of_trident) > 1:
        named = ", ".join(str(own.relative_to(folder)) for own in of_trident)
        raise StudyError(f"{folder} has the features of several encoders or sizes: {named}; give one of these folders")
    if of_trident:
        return _files_in(of_trident[0])
    return _files(folder.rglob("*"))


def _files_in(folder: Path) -> list[Path]:
    return _files(folder.iterdir()) if folder.is_dir() else []


def _files(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix in ENDINGS and path.is_file() and not path.name.startswith("."))


def slide_of_file(path: Path) -> str:
    """Return the slide id in a feature file's name, without what tools add to it."""
    name = path.name.removesuffix(path.suffix)
    for ending in NAME_ENDINGS:
        name = name.removesuffix(ending)
    return name


def match_slides(slide_ids: Iterable[str], folder: FeatureFolder) -> dict[str, str]:
    """Return wanted slide id to the folder's own: equal, or equal up to the first dot where that is without doubt.

    TCGA's files have an identifier behind a dot, which tables often leave out; a number there tells slides apart (12.1, 12.2).
    """
    by_start: dict[str, list[str]] = {}
    for own in folder.files:
        by_start.setdefault(own.partition(".")[0], []).append(own)
    wanted = sorted(set(slide_ids))
    starts = [slide.partition(".")[0] for slide in wanted]
    matched = {}
    for slide, start in zip(wanted, starts, strict=True):
        if slide in folder.files:
            matched[slide] = slide
        elif (
            len(by_start.get(start, [])) == 1
            and starts.count(start) == 1
            and ("." in slide) != ("." in by_start[start][0])  # two identifiers that differ are two slides
            and not any(name.partition(".")[2].isdecimal() for name in (slide, by_start[start][0]))
        ):
            matched[slide] = by_start[start][0]
    return matched


def common_provenance(headers: Mapping[Path, ExchangeBag], remedy: str) -> Provenance:
    """Return what feature files say of their making, which must be the same.

    Raises:
        StudyError: two files differ in layout, width, encoder, colours or tile size; both are named.
    """
    first: tuple[Path, Provenance] | None = None
    for path, header in sorted(headers.items()):
        if not header.n_tiles:
            continue  # an empty slide may have no width
        if first is None:
            first = path, header.provenance
        if difference := header.provenance.difference(first[1], ALIKE):
            name, own, earlier = difference
            raise StudyError(
                f"features were made in two ways: {name} is {earlier!r} in {first[0].name} and {own!r} in {path.name}; {remedy}"
            )
    return Provenance() if first is None else first[1]


def origin(provenance: Provenance) -> str:
    """Say in one line where features came from and what is not known of them."""
    stated = provenance.record()
    text = f"features in the layout of {provenance.layout}: {provenance.n_features} numbers a tile"
    text += f", encoder {stated.get('encoder', UNKNOWN)}, licence of the encoder {stated.get('licence', UNKNOWN)}"
    silent = [name for name in MUST_AGREE if stated.get(name) == UNKNOWN and name != "encoder"]
    if silent and provenance.layout != OWN:
        text += f"; the files do not say {', '.join(silent)}"
    return text


def scale_of_table(cohort: Cohort) -> dict[str, tuple[float, float]]:
    """Return µm a pixel, x and y, of the slides for which the clinical table gives it."""
    given = {row["slide_id"]: given_scale(row, None) for row in cohort.rows}
    return {slide: scale[0] for slide, scale in given.items() if scale is not None}


def scale_of_tile_files(tiles: Path, slide_ids: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Return µm a pixel of the slides that have a tile file."""
    from common.arrays import read_attributes

    scales = {}
    for slide in slide_ids:
        path = tiles / f"{slide}.h5"
        if path.is_file():
            try:
                known = read_attributes(path)
            except ValueError:
                continue  # only a scale is wanted here; the file's own step names the damage
            if "mpp_x" in known and "mpp_y" in known:
                scales[slide] = (float(known["mpp_x"]), float(known["mpp_y"]))
    return scales
