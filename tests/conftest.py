"""Shapes in the annotations are enforced here, and the real data are found if they lie beside the project."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before any project module is imported: every annotated array is checked against its shape and type.
install_import_hook(
    ["common", "preprocessing", "features", "splits", "mil"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int serves where a float is wanted
)

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("PYTHONWARNINGS", "default")  # child processes are not turned to errors by their libraries


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real slides and tables; skip where it is not."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data do not lie beside the project")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the project's folder."""
    return ROOT
