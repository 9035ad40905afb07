"""A few drawn streets in all formats, once for all tests."""

from pathlib import Path

import pytest

from florence_rag.training.world.data_sets import draw_data_sets


@pytest.fixture(scope="session")
def streets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("streets")
    draw_data_sets(folder, 12)
    return folder
