"""A study trained once for all tests of rooms that work with finished runs; they write beside it, never into it."""

import pytest

from tests.helpers.trained_runs import train_both


@pytest.fixture(scope="session")
def trained_study(tmp_path_factory):
    return train_both(tmp_path_factory.mktemp("trained") / "study")
