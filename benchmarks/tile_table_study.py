"""A tile table exported from a tiled synthetic study: images of TRAIN and VALID patients, embedded, trained, by both units.

Prints the results by patient and by image. Patients are the first of each subtype in the order of their ids; tiles are
those the grid has at equal steps, at the study's own size in µm. Paths have backslashes.

    python benchmarks/tile_table_study.py --study study --out /tmp/tile_table
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.cohort import read_cohort
from common.files import write_table
from common.slide_files import find_slides
from common.study import open_study
from features.extract_features import main as extract
from mil.train import main as train
from preprocessing.reading.slide import open_slide, read_tile
from preprocessing.tiling.tile_store import read_slide_tiles


def export(study_dir: Path, out: Path, *, n_train: int, n_valid: int, n_tiles: int, side_px: int) -> Path:
    """Write PNG tiles and key.csv: the given numbers of patients of each subtype."""
    from PIL import Image

    study = open_study(study_dir)
    cohort, files = read_cohort(study.cohort_table), find_slides(study.slides)
    rows = []
    for subtype, patients in cohort.patients.groupby("subtype", sort=True):
        for number, patient in enumerate(sorted(patients.index)[: n_train + n_valid]):
            chosen = "TRAIN" if number < n_train else "VALID"
            slide_id = cohort.slides.loc[cohort.slides["patient_id"] == patient, "slide_id"].iloc[0]
            tiles = read_slide_tiles(study.tile_file(slide_id))
            step = max(1, len(tiles.coords) // n_tiles)
            with open_slide(files[slide_id], mpp=(tiles.mpp_x, tiles.mpp_y)) as slide:
                for index, (x, y) in enumerate(tiles.coords[::step][:n_tiles].tolist()):
                    name = f"{patient}_{index:02d}.png"
                    (out / "tiles").mkdir(parents=True, exist_ok=True)
                    Image.fromarray(read_tile(slide, x, y, tile_um=tiles.tile_um, tile_px=side_px)).save(
                        out / "tiles" / name
                    )
                    rows.append([patient, f"tiles\\{name}", subtype, chosen, chosen == "VALID"])
    table = out / "key.csv"
    write_table(table, ["patient_ID", "Path", "Label", "training_set", "is_valid"], rows)
    print(f"{table}: {len(rows)} images of {len({row[0] for row in rows})} patients")
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path("study"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n_train", type=int, default=5)
    parser.add_argument("--n_valid", type=int, default=3)
    parser.add_argument("--n_tiles", type=int, default=6)
    parser.add_argument("--side_px", type=int, default=512)
    options = parser.parse_args()
    table = export(
        options.study, options.out, n_train=options.n_train, n_valid=options.n_valid, n_tiles=options.n_tiles,
        side_px=options.side_px,
    )  # fmt: skip
    study = str(options.out / "study")
    code = extract(["--study", study, "--tiles", str(table), "--workers", "1"])
    return code or train(["--study", study, "--task", "subtype"])


if __name__ == "__main__":
    sys.exit(main())
