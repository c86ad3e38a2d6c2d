"""What several rooms of the features read: one painted slide."""

import pytest

from tests.helpers.embedding_jobs import painted_slide


@pytest.fixture(scope="session")
def slide(tmp_path_factory):
    return painted_slide(tmp_path_factory.mktemp("slides") / "s.tif")
