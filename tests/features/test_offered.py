"""What the package offers to a notebook: each name is there, and nothing is imported before it is asked for."""

import subprocess
import sys

import pytest

import features


def test_each_name_is_found_and_another_is_not():
    assert all(getattr(features, name) for name in features.__all__)
    with pytest.raises(AttributeError, match="no attribute 'embed_nothing'"):
        features.embed_nothing  # noqa: B018


def test_the_package_alone_imports_nothing_heavy(root):
    code = "import features, sys; print([n for n in ('numpy', 'torch', 'h5py', 'pandas') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
