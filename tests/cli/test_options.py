from pathlib import Path

import pytest

from florence_rag.cli.options import absolute_path, parse_labels


def test_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute_path("a/b.jpg") == tmp_path / "a/b.jpg"
    assert absolute_path("~/b.jpg") == Path.home() / "b.jpg"


@pytest.mark.parametrize(("text", "labels"), [(None, None), ("cat,dog", ["cat", "dog"]), ("cat, dog ", ["cat", "dog"])])
def test_labels_are_separated_by_commas(text, labels):
    assert parse_labels(text) == labels
