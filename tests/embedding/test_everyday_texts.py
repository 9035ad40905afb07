"""Vectors of everyday texts are computed once for each embedder on a machine."""

from dataclasses import replace

import numpy as np
import pytest

from florence_rag.embedding.everyday_texts import EVERYDAY_TEXTS, embed_everyday_texts
from florence_rag.models.registry import state_file
from florence_rag.testing import ColorEmbedder


@pytest.fixture
def embedder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return ColorEmbedder()


def never_called(texts):
    raise AssertionError("the texts were embedded again")


def test_they_are_embedded_once(embedder, monkeypatch):
    first = embed_everyday_texts(embedder)
    np.testing.assert_array_equal(first, embedder.embed_texts(EVERYDAY_TEXTS))
    monkeypatch.setattr(embedder, "embed_texts", never_called)
    np.testing.assert_array_equal(embed_everyday_texts(embedder), first)
    embedder.info = replace(embedder.info, fingerprint="other")
    with pytest.raises(AssertionError, match="embedded again"):
        embed_everyday_texts(embedder)


@pytest.mark.parametrize("damage", ["", "=", "AAAA", "?"])
def test_a_damaged_record_is_replaced(embedder, damage):
    first = embed_everyday_texts(embedder)
    path = state_file("everyday_texts.json")
    content = path.read_text()
    path.write_text(content.replace(content.split('"')[3], damage))
    np.testing.assert_array_equal(embed_everyday_texts(embedder), first)
    assert path.read_text() == content
