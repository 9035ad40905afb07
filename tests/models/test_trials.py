"""Parts of models that passed a trial are remembered, and tried again when they, or their library, have changed."""

import os
from dataclasses import replace

import pytest

from florence_rag.errors import ModelError
from florence_rag.models import tokenizer_files, trials
from florence_rag.models.registry import state_file
from florence_rag.models.tokenizer_files import check_tokenizers
from tests.models.tiny_sentence_transformers import word_tokenizer


@pytest.fixture
def tokenizer(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    word_tokenizer().save_pretrained(tmp_path)
    return tmp_path / "tokenizer.json"


@pytest.fixture
def tried(monkeypatch):
    """Return the lists of parts that are run, which are not run."""
    tried = []
    monkeypatch.setattr(trials, "stream", lambda lengths, parts, limits: tried.append(parts) or [1])
    return tried


def test_a_tokenizer_is_tried_again_only_after_it_has_changed(tokenizer, tried):
    for _ in range(3):
        check_tokenizers([tokenizer])
    assert len(tried) == 1
    state = tokenizer.stat()
    os.utime(tokenizer, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    check_tokenizers([tokenizer])
    assert len(tried) == 2


def test_parts_are_tried_again_with_another_version_of_their_library(tokenizer, tried, monkeypatch):
    check_tokenizers([tokenizer])
    monkeypatch.setattr(trials, "version", lambda library: "99")
    check_tokenizers([tokenizer])
    assert len(tried) == 2


def test_what_fails_is_not_remembered(tokenizer, tried, monkeypatch):
    monkeypatch.setattr(tokenizer_files, "_trial", replace(tokenizer_files._trial, most=0))
    for _ in range(2):
        with pytest.raises(ModelError, match="its tokenizer makes 1 tokens of 1018 characters; choose another model"):
            check_tokenizers([tokenizer])
    assert len(tried) == 2


def test_without_a_writable_home_parts_are_tried_each_time(tokenizer, tried):
    state_file("x").parent.parent.write_text("no folder")
    for _ in range(2):
        check_tokenizers([tokenizer])
    assert len(tried) == 2
