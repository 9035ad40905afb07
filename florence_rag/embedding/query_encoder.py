"""Embeds queries without PyTorch: the tokenizer and the preprocessing of a model, and its encoders on NumPy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from florence_rag.embedding.base import TextLimit, TooLong, unit_rows
from florence_rag.models.image_scaling import ImageScaling
from florence_rag.models.numpy_image_encoder import ImageNetworkSettings, open_image_encoder
from florence_rag.models.numpy_layers import Weights
from florence_rag.models.numpy_text_encoder import NumpyTextEncoder, TextNetworkSettings
from florence_rag.types import Frame


@dataclass(frozen=True, slots=True)
class TextQuerySettings:
    """How a model embeds texts that are queries.

    Attributes:
        network: Its text encoder.
        max_tokens: The tokens that it reads, start and end included.
        padding: The token that fills texts up to this length, and its id; None for a network that needs no padding.
        masks_padding: Whether no token attends to padding.
        lowers_case: Whether texts are converted to lower case.
        normalizes_text: Whether texts are normalized as CLIP's own tokenizer does.
        splits_special_tokens: Whether a text that spells a special token is text.
    """

    network: TextNetworkSettings
    max_tokens: int
    padding: tuple[str, int] | None = None
    masks_padding: bool = False
    lowers_case: bool = False
    normalizes_text: bool = False
    splits_special_tokens: bool = False


@dataclass(frozen=True, slots=True)
class ImageQuerySettings:
    """How a model embeds images that are queries.

    Attributes:
        network: Its image encoder.
        scaling: How images get the size that it reads.
        rescale_factor: What values in [0, 255] are multiplied by.
        mean: The mean of each channel, which is then subtracted; one number for all channels, or three.
        std: The standard deviations, by which the differences are divided.
    """

    network: ImageNetworkSettings
    scaling: ImageScaling
    rescale_factor: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class QuerySettings:
    """How a model embeds queries; `image` is None if `ImageQueryEncoder` lacks its network or its preprocessing."""

    text: TextQuerySettings
    image: ImageQuerySettings | None = None


@runtime_checkable
class HasQuerySettings(Protocol):
    """An optional part of an `Embedder` whose queries can be embedded without PyTorch."""

    def query_settings(self) -> QuerySettings | None:
        """Return how queries are embedded; None if `TextQueryEncoder` lacks its network."""
        ...


class TextQueryEncoder:
    """Embeds texts as the model in a folder does. Threads may share it.

    Args:
        folder: The folder of the tokenizer.json and the *.safetensors of the model.
        settings: How the model embeds texts.
        name: The name of the model, for messages.
        too_long: Whether texts that are longer than the model reads are truncated, or raise an InputError ("error").
    """

    def __init__(self, folder: Path, settings: TextQuerySettings, name: str, too_long: TooLong = "truncate") -> None:
        self._settings = settings
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.encode_special_tokens = settings.splits_special_tokens
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._limit = TextLimit(name, settings.max_tokens, self._count, too_long)
        self._network = NumpyTextEncoder(Weights(folder), settings.network)

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


class ImageQueryEncoder:
    """Embeds images as the model in a folder does. Threads may share it.

    Args:
        folder: The folder of the *.safetensors of the model.
        settings: How the model embeds images.
    """

    def __init__(self, folder: Path, settings: ImageQuerySettings) -> None:
        self._settings = settings
        self._mean, self._std = (np.array(each, np.float32) for each in (settings.mean, settings.std))
        self._network = open_image_encoder(Weights(folder), settings.network)

    def __call__(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed N RGB images (H, W, 3) uint8 of any sizes as (N, D) float32 of unit length, N at least 1."""
        return unit_rows(np.stack([self._embed(frame) for frame in frames]))

    def _embed(self, frame: Frame) -> np.ndarray:
        scaled = np.asarray(self._settings.scaling.resize(Image.fromarray(frame)), dtype=np.float32)
        return self._network((scaled * np.float32(self._settings.rescale_factor) - self._mean) / self._std)
