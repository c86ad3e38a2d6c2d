"""Shapes in the annotations are enforced here, and the real data are found if they lie beside the project."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before any project module is imported: every annotated array is checked against its shape and type.
install_import_hook(
    ["common", "preprocessing", "features", "splits", "mil", "sarcoma_mil"],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int serves where a float is wanted
)

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("PYTHONWARNINGS", "default")  # child processes are not turned to errors by their libraries
if "PYTEST_XDIST_WORKER" in os.environ:  # before NumPy and PyTorch are imported: a worker has one processor
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark who asks for the real data; files with many slow tests go first, so that no worker is left with one at the end."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
    n_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -n_slow[item.path])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU or a browser where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU")
    if item.get_closest_marker("browser"):
        pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
        if shutil.which("chromium") is None:
            pytest.skip("no Chromium")


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


@pytest.fixture(scope="session")
def kept_networks() -> Iterator[None]:
    """Let a network be made ready once for all calls of a script in this process: OpenVINO converts for seconds."""
    from features.device import binding

    original, kept = binding.bind, {}

    def bind(encoder, **settings):
        key = (encoder.card.name, encoder.weights_sha256, *sorted(settings.items()))
        if key not in kept:
            kept[key] = original(encoder, **settings)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binding, "bind", bind)
        yield
