"""One study, one folder: where each step finds what the step before left there."""

from dataclasses import dataclass
from pathlib import Path

from common.failures import StudyError

# The endings OpenSlide's formats use. A DICOM series (one file a level) is its folder.
SLIDE_ENDINGS = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".czi"}
)
DICOM_ENDING = ".dcm"


@dataclass(frozen=True)
class Study:
    """The paths inside a study folder."""

    root: Path

    @property
    def cohort_table(self) -> Path:
        """The clinical table, one row a slide."""
        return self.root / "cohort.csv"

    @property
    def slides(self) -> Path:
        """The folder of slide files."""
        return self.root / "slides"

    @property
    def tiles(self) -> Path:
        """The folder of tile files and outlines."""
        return self.root / "tiles"

    @property
    def previews(self) -> Path:
        """The folder of preview pictures."""
        return self.tiles / "previews"

    @property
    def truth(self) -> Path:
        """The known truth of a synthetic study."""
        return self.root / "truth"

    def tile_file(self, slide_id: str) -> Path:
        """The tile file of a slide."""
        return self.tiles / f"{slide_id}.h5"

    def outline_file(self, slide_id: str) -> Path:
        """The tissue outline of a slide."""
        return self.tiles / f"{slide_id}.geojson"

    def features(self, encoder: str) -> Path:
        """The folder of feature files of an encoder."""
        return self.root / "features" / encoder

    def feature_file(self, encoder: str, slide_id: str) -> Path:
        """The feature file of a slide."""
        return self.features(encoder) / f"{slide_id}.h5"

    def splits_file(self, name: str) -> Path:
        """A table of folds."""
        return self.root / "splits" / f"{name}.csv"

    def run(self, task: str, name: str) -> Path:
        """The folder of one training run."""
        return self.root / "runs" / task / name


def open_study(root: Path) -> Study:
    """Return the study in a folder.

    Raises:
        StudyError: there is no such folder; the message says what a study needs and how to make the demo.
    """
    if not root.is_dir():
        raise StudyError(
            f"no study folder at {root}. A study is a folder with slides/ (whole-slide images) and cohort.csv (one row "
            f"a slide: patient_id, slide_id, then subtype, or time and event). Give yours with --study DIR, or make a "
            f"synthetic one: python preprocessing/make_demo_study.py --study {root}"
        )
    return Study(root)


def find_slides(folder: Path) -> dict[str, Path]:
    """Return slide id to file for every slide below a folder, sorted by id; the id is the file name without ending.

    Raises:
        StudyError: the folder is missing or holds no slide, or two files have one id.
    """
    if not folder.is_dir():
        raise StudyError(f"no folder {folder}: put the slides there, in subfolders if you like")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        ending = path.suffix.lower()
        if ending == DICOM_ENDING and path.is_file():
            if path.parent != folder:
                found.setdefault(path.parent.name, [path.parent])
            else:
                found.setdefault(path.stem, []).append(path)
        elif ending in SLIDE_ENDINGS and path.is_file():
            found.setdefault(path.stem, []).append(path)
    if not found:
        raise StudyError(f"no slides in {folder}; wanted files ending in {', '.join(sorted(SLIDE_ENDINGS))} or .dcm")
    double = {name: paths for name, paths in found.items() if len(paths) > 1}
    if double:
        lines = "; ".join(f"{name}: {', '.join(map(str, paths))}" for name, paths in sorted(double.items()))
        raise StudyError(f"two files with one slide id in {folder}: {lines}. Rename or remove one of each")
    return {name: paths[0] for name, paths in sorted(found.items())}
