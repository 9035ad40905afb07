import json
from dataclasses import replace

import pytest

from florence_rag.errors import ModelError
from florence_rag.models import tokenizer_files
from florence_rag.models.registry import ASSETS
from florence_rag.models.tokenizer_files import check_tokenizers
from tests.models.tiny_sentence_transformers import word_tokenizer

TENFOLD = {"type": "Replace", "pattern": {"Regex": "."}, "content": "aaaaaaaaaa"}
UNREADABLE_MAP = {"type": "Precompiled", "precompiled_charsmap": ""}
FEW_MERGES = {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]}
MANY_TOKENS = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "x", "type_id": 0}}] * 20,
    "pair": [],
    "special_tokens": {"x": {"id": "x", "ids": [0] * 1000, "tokens": ["a"] * 1000}},
}


@pytest.fixture
def tokenizer(tmp_path):
    """Return a function that writes a tokenizer with other parts."""
    word_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    healthy = json.loads(path.read_text())

    def write(**parts):
        path.write_text(json.dumps(healthy | parts))
        return path

    return write


def test_usual_tokenizers_and_those_that_the_libraries_refuse_pass(tokenizer, tmp_path):
    (tmp_path / "list.json").write_text("[]")
    check_tokenizers([tokenizer(), tmp_path / "list.json", *ASSETS.rglob("tokenizer.json")])


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "Sequence", "normalizers": [TENFOLD] * 9}},
        {"normalizer": UNREADABLE_MAP},
        {"model": FEW_MERGES},
        {"padding": {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
         | {"pad_type_id": 0, "pad_token": "a"}},
    ],
    ids=["a normalizer that multiplies", "a map that cannot be read", "merges without words", "padding"],
)  # fmt: skip
def test_a_tokenizer_that_fills_memory_or_crashes_is_refused(parts, tokenizer, monkeypatch):
    limits = replace(tokenizer_files._trial.limits, seconds=3, memory_bytes=1 << 29)
    monkeypatch.setattr(tokenizer_files, "_trial", replace(tokenizer_files._trial, limits=limits))
    with pytest.raises(ModelError, match=r"^its tokenizer\.json needs too much time or memory, or crashes"):
        check_tokenizers([tokenizer(**parts)])


def test_a_tokenizer_that_makes_too_many_tokens_is_refused(tokenizer):
    with pytest.raises(ModelError, match=r"its tokenizer makes 200.* tokens of 1018 characters"):
        check_tokenizers([tokenizer(post_processor=MANY_TOKENS)])
