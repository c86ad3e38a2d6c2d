"""What `import preprocessing` offers a notebook: every name is there, loads nothing before it is asked for, and works."""

import subprocess
import sys

import pytest

import preprocessing
from preprocessing.make_contact_sheet import main as make_contact_sheet
from preprocessing.make_stain_reference import main as make_stain_reference

pytestmark = pytest.mark.slow  # seconds a test: whole scripts, networks, training


@pytest.mark.parametrize("name", preprocessing.__all__)
def test_every_name_is_there_and_documented(name):
    assert getattr(preprocessing, name).__doc__
    assert name in dir(preprocessing)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'tile_nothing'"):
        preprocessing.tile_nothing  # noqa: B018


def test_importing_loads_nothing():
    code = "import sys, preprocessing; print(sorted(name for name in sys.modules if name.startswith('preprocessing.')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_notebook_goes_from_nothing_to_tiles_pages_and_references_with_values_in_hand(tmp_path, capsys):
    root = tmp_path / "study"
    painted = preprocessing.paint_study(root, preprocessing.DemoConfig(patients=1, workers=1))
    assert painted.n_patients == 1
    assert len(list(painted.study.slides.iterdir())) == painted.n_slides
    assert preprocessing.paint_study(painted.study, preprocessing.DemoConfig(patients=1)).n_kept == painted.n_slides

    check = preprocessing.examine_study(root, preprocessing.CheckConfig(folds=2, workers=0))
    assert [row[1] for row in check.table] == ["opens"] * painted.n_slides
    assert {finding.where for finding in check.findings} == {"cohort"}  # one patient is none to cross-validate

    tiled = preprocessing.tile_study(root, preprocessing.TilingConfig(workers=0, quality=False))
    assert [status.state for status in tiled.statuses] == ["done"] * painted.n_slides
    assert tiled.status_file.is_file()
    page = tiled.contact_sheet.read_bytes()
    assert preprocessing.draw_contact_sheet(painted.study).n_slides == painted.n_slides
    assert make_contact_sheet(["--study", str(root)]) == 0
    assert tiled.contact_sheet.read_bytes() == page

    reference = preprocessing.aggregate_stains(root, preprocessing.StainReferenceConfig(name="mine"))
    written = reference.path.read_bytes()
    assert set(reference.methods) | set(reference.left_out) == {status.slide_id for status in tiled.statuses}
    assert make_stain_reference(["--study", str(root), "--name", "mine"]) == 0
    assert reference.path.read_bytes() == written

    export = preprocessing.export_study(painted.study, preprocessing.ExportConfig(max_tiles=2, workers=0))
    assert export.n_done == painted.n_slides
    assert 0 < export.n_tiles <= 2 * painted.n_slides
    assert export.key_file.is_file()
    capsys.readouterr()
