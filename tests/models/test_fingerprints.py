"""Digests of weights are remembered, and computed again when a file has changed."""

import os

import pytest

from florence_rag.errors import ModelError
from florence_rag.models import fingerprints
from florence_rag.models.fingerprints import fingerprint
from florence_rag.models.registry import state_file


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(fingerprints, "_SMALL", 0)
    path = tmp_path / "model" / "model.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"one")
    return path


def test_a_digest_is_remembered_until_the_file_changes(weights):
    first = fingerprint(weights.parent)
    state = weights.stat()
    weights.write_bytes(b"two")
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint(weights.parent) == first  # it was not read again
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert fingerprint(weights.parent) != first


def test_equal_weights_have_equal_digests_in_any_folder(weights, tmp_path):
    copy = tmp_path / "copy" / "model.safetensors"
    copy.parent.mkdir()
    copy.write_bytes(weights.read_bytes())
    assert fingerprint(copy.parent) == fingerprint(weights.parent)


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "\udcff"])
def test_a_damaged_record_is_written_again(weights, content):
    first = fingerprint(weights.parent)
    state_file("fingerprints.json").write_text(content, errors="surrogateescape")
    assert fingerprint(weights.parent) == first
    assert first in state_file("fingerprints.json").read_text()


def test_without_weights_it_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="no weights in"):
        fingerprint(tmp_path)
