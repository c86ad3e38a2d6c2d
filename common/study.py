"""One study, one folder: where each step finds what the step before left there."""

from dataclasses import dataclass
from pathlib import Path

from common.calling.calls import command_here, is_by_command
from common.failures import StudyError
from common.guards.names import checked_name

TABLE_ENDINGS = (".csv", ".tsv", ".xlsx", ".parquet")


@dataclass(frozen=True)
class Study:
    """The paths inside a study folder."""

    root: Path

    @property
    def cohort_table(self) -> Path:
        """The clinical table, one row a slide: cohort.csv, or another ending of TABLE_ENDINGS.

        Raises:
            StudyError: there are two.
        """
        found = [path for ending in TABLE_ENDINGS if (path := self.root / f"cohort{ending}").is_file()]
        if len(found) > 1:
            raise StudyError(f"two clinical tables: {', '.join(map(str, found))}; keep one")
        return found[0] if found else self.root / f"cohort{TABLE_ENDINGS[0]}"

    @property
    def slides(self) -> Path:
        """The folder of slide files."""
        return self.root / "slides"

    @property
    def tiles(self) -> Path:
        """The folder of tile files and outlines."""
        return self.root / "tiles"

    @property
    def status_file(self) -> Path:
        """What became of each slide in tiling."""
        return self.tiles / "status.csv"

    @property
    def contact_sheet(self) -> Path:
        """The page with the previews of all slides."""
        return self.tiles / "contact_sheet.html"

    @property
    def previews(self) -> Path:
        """The folder of preview pictures."""
        return self.tiles / "previews"

    def preview_file(self, slide_id: str) -> Path:
        """The picture to check of a slide."""
        return self.previews / f"{slide_id}.jpg"

    @property
    def masks(self) -> Path:
        """The folder of tissue masks made by another tool, if there are any."""
        return self.root / "masks"

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
        return self.root / "features" / checked_name(encoder, "the name of an encoder (--encoder)")

    def embedded_encoders(self) -> list[str]:
        """The encoders that have a folder of feature files, sorted."""
        return sorted(path.name for path in (self.root / "features").glob("[!.]*") if path.is_dir())

    def feature_file(self, encoder: str, slide_id: str) -> Path:
        """The feature file of a slide."""
        return self.features(encoder) / f"{slide_id}.h5"

    def splits_file(self, name: str) -> Path:
        """A table of folds."""
        return self.root / "splits" / f"{checked_name(name, 'the name of splits')}.csv"

    def run(self, task: str, name: str) -> Path:
        """The folder of one training run."""
        return (
            self.root
            / "runs"
            / checked_name(task, "the name of a task (--task)")
            / checked_name(name, "the name of a run (--name)")
        )


def as_study(study: Path | Study) -> Study:
    """Return the study of a folder, whether the folder is there or not."""
    return study if isinstance(study, Study) else Study(study)


def _beginning(root: Path) -> str:
    """Say how to get a study."""
    if is_by_command():
        own = command_here()
        return f"begin one: {own} init --study {root} --slides FOLDER; all of it on painted slides: {own} demo"
    return f"make a synthetic one: python preprocessing/make_demo_study.py --study {root}"


def open_study(study: Path | Study) -> Study:
    """Return the study in a folder.

    Raises:
        StudyError: there is no such folder; the message says what a study needs and how to make the demo.
    """
    opened = as_study(study)
    root = opened.root
    if not root.is_dir() and (Path.cwd() / "slides").is_dir() and as_study(Path.cwd()).cohort_table.is_file():
        raise StudyError(f"no study folder at {root}, and this folder looks like one: give it with --study .")
    if not root.is_dir():
        raise StudyError(
            f"no study folder at {root}. A study is a folder with slides/ (whole-slide images) and cohort.csv (one row "
            f"a slide: patient_id, slide_id, then subtype, or time and event). Give yours with --study DIR, or {_beginning(root)}"
        )
    return opened
