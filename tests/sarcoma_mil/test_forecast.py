"""run --dry_run: what is there, what is missing and what it takes; nothing is written."""

import numpy as np
import pytest

from common.failures import SlideError
from preprocessing.synthetic.scanner import write_pyramid
from preprocessing.tile_slides import main as tile
from preprocessing.tiling.tiling_settings import TilingConfig
from sarcoma_mil.command import main
from sarcoma_mil.whole import forecast
from sarcoma_mil.whole.rates import EmbeddingRate, try_embedding, try_training
from sarcoma_mil.whole.slide_forecast import look, try_tiling
from tests.helpers.painted_stains import painted_patches, some_fit

FLAGS = "tile_slides:\n  tile_um: 64\n"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "study"
    rows = ["patient_id,slide_id,subtype,time,event"]
    for number in range(2):
        parts = painted_patches(some_fit(number).matrix, np.random.default_rng(number), n_patches=16, side=144)
        tissue = np.vstack([np.hstack(parts[row * 4 : row * 4 + 4]) for row in range(4)])
        image = np.full((1152, 1152, 3), 243, np.uint8)  # a quarter is tissue
        image[288:864, 288:864] = tissue
        write_pyramid(root / "slides" / f"s{number}.tif", image, 0.5)
        rows.append(f"p{number},s{number},{'AB'[number]},{number + 1},1")
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    (root / "study.yaml").write_text(FLAGS)
    return root


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(forecast, "try_embedding", lambda config, tile_px: EmbeddingRate(10.0, "a device"))
        monkeypatch.setattr(forecast, "try_training", lambda config, **sizes: 0.5)


def listing(root):
    return sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))


def row_of(shown, name):
    return next(line for line in shown.splitlines() if line.startswith(name))


def test_what_is_missing_and_what_it_takes(root, capsys):
    before = listing(root)
    assert main(["run", "--study", str(root), "--dry-run"]) == 0
    assert listing(root) == before
    shown = capsys.readouterr().out
    said = " ".join(shown.split())
    assert "2 slides, about" in row_of(shown, "tile")
    assert "due" in row_of(shown, "features")
    assert "2 patients, 5 folds" in row_of(shown, "splits")
    # 5 folds of 0.5 s a step, the fewest steps there are, inner folds beside: 5 x 450 x 0.5 x 3
    assert "about 56 min" in row_of(shown, "train subtype")
    assert "embedded 10 tiles a second here (a device)" in said
    assert "tiling of s" in said  # where the rate comes from
    assert "explain: not tried" in said
    assert row_of(shown, "in all").split()[-1] in ("MB", "GB")


def test_steps_that_are_done_take_nothing(root, capsys):
    assert tile(["--study", str(root), "--workers", "1"]) == 0
    capsys.readouterr()
    before = listing(root)
    assert main(["run", str(root), "--dry_run", "true", "--tasks", "survival", "--explain", "false"]) == 0
    assert listing(root) == before
    shown = capsys.readouterr().out
    assert "about" not in row_of(shown, "tile").partition("slides,")[2].partition("tiles")[0]  # counted, not estimated
    assert "subtype" not in shown.partition("splits")[2]
    assert "explain" not in shown


def test_tasks_that_the_table_does_not_allow_say_why(root, capsys):
    (root / "cohort.csv").write_text("patient_id,slide_id,subtype\np0,s0,A\np1,s1,B\n")
    assert main(["run", str(root), "--dry_run"]) == 0
    assert "left out: cohort.csv has no column time" in row_of(capsys.readouterr().out, "train survival")


def test_slides_that_cannot_be_read_are_named(root, capsys):
    (root / "slides" / "s1.tif").write_text("no slide")
    assert main(["run", str(root), "--dry_run"]) == 1
    shown = capsys.readouterr().out
    assert "s1: " in shown
    assert "2 slides, about" in row_of(shown, "tile")


def test_a_disk_that_is_too_small_is_said(root, capsys, monkeypatch):
    usage = forecast.shutil.disk_usage(root)
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda path: usage._replace(free=10))
    assert main(["run", str(root), "--dry_run"]) == 1
    assert "TOO LITTLE" in capsys.readouterr().out


def test_the_tissue_of_an_overview_is_that_of_tiling(root):
    config = TilingConfig(tile_um=64.0)
    for number in range(2):
        path = root / "slides" / f"s{number}.tif"
        rate = try_tiling(f"s{number}", path, {}, config)
        own = look(f"s{number}", path, None, config)
        assert own.n_tiles == pytest.approx(rate.n_tiles, rel=0.25)
        assert own.tissue_mm2 == pytest.approx(0.288**2, rel=0.15)
        assert rate.seconds > 0 and rate.n_bytes > 1000
    coarse = look("s0", root / "slides" / "s0.tif", ((10.0, 8.0), "--mpp"), config)  # the coarsest scale that is taken
    assert coarse.n_tiles == pytest.approx(coarse.tissue_mm2 * 1e6 / 64**2)
    with pytest.raises(SlideError, match=r"mpp on x is 10\.1"):
        look("s0", root / "slides" / "s0.tif", ((10.1, 8.0), "--mpp"), config)
    assert not (root / "tiles").exists()
    broken = root / "slides" / "none.tif"
    broken.write_text("x")
    assert try_tiling("none", broken, {}, config) is None


@pytest.mark.slow
def test_rates_are_tried_on_this_machine(monkeypatch):
    from features.embedding.extraction_settings import ExtractionConfig
    from mil.training.training_settings import TrainConfig
    from sarcoma_mil.whole import rates

    monkeypatch.setattr(rates, "TRIED_S", 0.2)
    rate = try_embedding(ExtractionConfig(device="cpu", threads=1), 64)
    assert rate.tiles_a_second > 1
    assert rate.device.startswith("OpenVINO")
    for head in ("gated_attention", "mean_mlp", "dsmil"):
        assert 0 < try_training(TrainConfig(head=head, threads=1), tiles_a_bag=20.0, dimension=64) < 10


@pytest.mark.parametrize(("workers", "wanted"), [(0, 1), (1, 1), (3, 3), (9, 5)])
def test_folds_side_by_side_share_the_time_of_a_training(workers, wanted):
    from mil.training.training_settings import TrainConfig
    from sarcoma_mil.whole.forecast import _side_by_side

    assert _side_by_side(TrainConfig(workers=workers), [20.0] * 6, n_folds=5, n_epochs=30, dimension=64) == wanted
