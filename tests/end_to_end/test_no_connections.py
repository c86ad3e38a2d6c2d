"""No script opens a connection or leaves anything in the home folder; patients' data stay where they are."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.slide_files import file_fingerprint
from common.study import Study
from preprocessing.synthetic.scanner import write_pyramid
from preprocessing.tiling.slide_tiles import SlideTiles
from preprocessing.tiling.tile_store import write_slide_tiles
from tests.helpers.feature_study import make_feature_study
from tests.helpers.painted_stains import painted_patches, some_fit
from tests.helpers.scripts import SCRIPTS

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training

GUARD = Path(__file__).resolve().parents[1] / "helpers" / "no_sockets"
CALLS = {  # to the study and the flags; a study of slides, one that begins at the features, or none
    "preprocessing/make_demo_study.py": ("none", "--help"),  # painting takes minutes
    "preprocessing/check_study.py": ("slides",),
    "preprocessing/tile_slides.py": ("painted", "--tile_um", "64"),
    "preprocessing/make_contact_sheet.py": ("painted",),
    "preprocessing/make_stain_reference.py": ("slides",),
    "preprocessing/export_tiles.py": ("slides", "--max_tiles", "1"),
    "features/encoders.py": ("slides",),
    "features/extract_features.py": ("slides", "--device", "cpu", "--workers", "1"),
    "features/convert_features.py": ("features", "--to", "slideflow", "--mpp", "0.5", "--out", "converted"),
    "splits/make_splits.py": ("features", "--folds", "2"),
    "mil/train.py": ("features", "--epochs", "2", "--bootstrap", "100"),
    "mil/evaluate.py": ("features", "--bootstrap", "100"),
    "mil/clinical.py": ("features", "--task", "survival", "--covariates", "subtype", "--bootstrap", "100"),
    "mil/predict.py": ("features", "--features", "features/features/efficientnet_lite0"),
    "mil/explain.py": ("features",),
    "mil/serve.py": ("none", "--help"),  # it listens on this computer until it is stopped
    "mil/show_results.py": ("features",),
}


def make_slides(study, *, is_tiled):
    rows = ["patient_id,slide_id,subtype"]
    for number in range(2):
        slide_id, fit = f"S{number}", some_fit(number)
        path = study.slides / f"{slide_id}.tif"
        parts = painted_patches(fit.matrix, np.random.default_rng(number), n_patches=16, side=144)
        write_pyramid(path, np.vstack([np.hstack(parts[row * 4 : row * 4 + 4]) for row in range(4)]), 0.5)
        rows.append(f"P{number},{slide_id},LMS")
        if is_tiled:
            tiles = SlideTiles(
                slide_id=slide_id, coords=np.array([[0, 0], [256, 256]]), tissue_fraction=np.ones(2, np.float32), mpp_x=0.5,
                mpp_y=0.5, mpp_source="file", tile_um=128.0, tile_px=256, slide_width=576, slide_height=576, tissue_mm2=0.1,
                stain=fit, slide_fingerprint=file_fingerprint(path), settings="{}", piece=np.ones(2, np.int32), n_pieces=1,
                stride_um=128.0, tissue_source="segmented", tissue_fingerprint="",
            )  # fmt: skip
            write_slide_tiles(study.tile_file(slide_id), tiles)
    study.cohort_table.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("connections")
    make_slides(Study(folder / "slides"), is_tiled=True)
    make_slides(Study(folder / "painted"), is_tiled=False)
    make_feature_study(folder / "features", n_patients=12)
    (folder / "home").mkdir()
    return folder


def call(folder, *command):
    """Run Python with connections forbidden and an empty home folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL", "HF_", "TORCH_"))}
    own = {"HOME": str(folder / "home"), "PYTHONPATH": str(GUARD), "SOCKET_LOG": str(folder / "log")}
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=kept | own, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("script", CALLS)  # in this order: one makes what the next one reads
def test_s3_no_script_opens_a_connection_or_touches_the_home_folder(root, folder, script):
    study, *flags = CALLS[script]
    done = call(folder, root / script, *([] if study == "none" else ["--study", study]), *flags)
    assert not (folder / "log").exists(), (folder / "log").read_text()
    assert not list((folder / "home").rglob("*"))
    assert done.returncode in ({0, 1} if "check_study" in script or "tile_slides" in script else {0}), done.stderr


def test_s3_the_guard_notices_a_connection(root, folder, tmp_path):
    assert set(CALLS) == set(SCRIPTS)
    (tmp_path / "home").mkdir()
    done = call(tmp_path, "-c", "import urllib.request as u; u.urlopen('http://localhost:9')")
    assert done.returncode == 1
    assert (tmp_path / "log").read_text().startswith("getaddrinfo")
