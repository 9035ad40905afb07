"""Synthetic scenes in all formats of data sets, written once for all tests."""

from pathlib import Path

import pytest

from florence_rag.training.world.data_sets import draw_data_sets


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    draw_data_sets(folder, 12)
    return folder
