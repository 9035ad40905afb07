"""Embeds queries without PyTorch: the tokenizer of a model, and its text encoder on NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from tokenizers import Tokenizer

from florence_rag.embedding.base import TextLimit, TooLong, unit_rows
from florence_rag.models.numpy_text_encoder import NetworkSettings, NumpyTextEncoder


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """How a model embeds queries.

    Attributes:
        network: Its text encoder.
        max_tokens: The tokens that it reads, start and end included.
        padding: The token that fills texts up to this length, and its id; None for a network that needs no padding.
        masks_padding: Whether no token attends to padding.
        lowers_case: Whether texts are converted to lower case.
        normalizes_text: Whether texts are normalized as CLIP's own tokenizer does.
        splits_special_tokens: Whether a text that spells a special token is text.
    """

    network: NetworkSettings
    max_tokens: int
    padding: tuple[str, int] | None = None
    masks_padding: bool = False
    lowers_case: bool = False
    normalizes_text: bool = False
    splits_special_tokens: bool = False


@runtime_checkable
class HasQuerySettings(Protocol):
    """An optional part of an `Embedder` whose queries can be embedded without PyTorch."""

    def query_settings(self) -> QuerySettings | None:
        """Return how queries are embedded; None if a `QueryEncoder` lacks such networks."""
        ...


class QueryEncoder:
    """Embeds queries as the model in a folder does. Threads may share it.

    Args:
        folder: The folder of the tokenizer.json and the *.safetensors of the model.
        settings: How the model embeds queries.
        name: The name of the model, for messages.
        too_long: Whether texts that are longer than the model reads are truncated, or raise an InputError ("error").
    """

    def __init__(self, folder: Path, settings: QuerySettings, name: str, too_long: TooLong = "truncate") -> None:
        self._settings = settings
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.encode_special_tokens = settings.splits_special_tokens
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._limit = TextLimit(name, settings.max_tokens, self._count, too_long)
        self._network = NumpyTextEncoder(folder, settings.network)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N texts as (N, D) float32 of unit length, N at least 1."""
        if self._settings.normalizes_text:
            from florence_rag.models.text_normalization import normalize_text  # ftfy: a tenth of a second

            texts = [normalize_text(text) for text in texts]
        if self._settings.lowers_case:
            texts = [text.lower() for text in texts]
        self._limit.check(texts)
        return unit_rows(np.stack([self._embed(text) for text in texts]))

    def _embed(self, text: str) -> np.ndarray:
        encoding = self._tokenizer.encode(text)
        length = self._settings.max_tokens
        if len(encoding.ids) > length:
            special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
            plain = self._tokenizer.encode(text, add_special_tokens=False)
            plain.truncate(length - special)
            encoding = self._tokenizer.post_process(plain)
        if self._settings.padding:
            token, number = self._settings.padding
            encoding.pad(length, pad_id=number, pad_token=token)
        return self._network(encoding.ids, sum(encoding.attention_mask) if self._settings.masks_padding else None)

    def _count(self, text: str, **_: Any) -> Mapping[str, Sequence[int]]:
        return {"input_ids": self._tokenizer.encode(text).ids}
