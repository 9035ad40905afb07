"""Tokenizers in the layout of the released ones, without merges: every byte is a word."""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import pre_tokenizers

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def save_clip_words(folder: Path) -> Path:
    """Save the 1024 words of the small dual encoder."""
    fillers = [f"unused{i}" for i in range(1022 - 2 * len(BYTES))]
    words = [*BYTES, *(f"{byte}</w>" for byte in BYTES), *fillers, "<|startoftext|>", "<|endoftext|>"]
    return _save(folder, words)


def save_roberta_words(folder: Path) -> Path:
    """Save the 600 words of the small METER."""
    words = ["<s>", "<pad>", "</s>", "<unk>", *BYTES]
    return _save(folder, [*words, *(f"unused{i}" for i in range(599 - len(words))), "<mask>"])


def _save(folder: Path, words: Iterable[str]) -> Path:
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return folder
