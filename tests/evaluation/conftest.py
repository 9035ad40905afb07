"""Synthetic scenes in all formats of data sets, written once for all tests."""

from pathlib import Path

import pytest

from recipes.florence_tiny.synthetic.dataset_export import export_datasets


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    export_datasets(folder, 12)
    return folder
