"""The protocols of embedders, which turn images and texts into unit vectors, and what all embedders share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from florence_rag.errors import InputError
from florence_rag.telemetry import get_logger
from florence_rag.types import EmbedderInfo, Frame

log = get_logger(__name__)

RegionView = Literal["crop", "masked"]
TooLong = Literal["truncate", "error"]
"""Whether texts that are longer than a model can read are truncated or raise an InputError."""

CLIP_LOGIT_SCALE = 100.0
"""The logit scale at which the training of CLIP ends."""


@dataclass(frozen=True, slots=True)
class EmbedderCapabilities:
    """The abilities and needs of an embedder. The defaults suit an embedder about which nothing is known.

    Args:
        workers: The number of batches that may be embedded at the same time, at least 1.
        detail_px: The side in pixels beyond which a larger image does not change the vector, so that it can be decoded
            at a smaller size. None if there is no such limit.
        region_view: How to show a region of an image: "crop", or "masked" with the rest of the image blank.
        logit_scale: The factor by which the model multiplied cosines before the softmax in training, larger than 0.
        device: The torch device of the model, such as "cpu" or "cuda:0"; "" if torch does not run it.
    """

    workers: int = 1
    detail_px: int | None = None
    region_view: RegionView = "crop"
    logit_scale: float = CLIP_LOGIT_SCALE
    device: str = ""


@runtime_checkable
class TextEmbedder(Protocol):
    """Turns texts into vectors whose cosine measures how close two texts are in meaning."""

    @property
    def info(self) -> EmbedderInfo:
        """The name, fingerprint, dimension and preprocessing that an index records to refuse other embedders."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts, in the same space as images if the embedder also embeds images.

        Args:
            texts: Texts of any length. The embedder truncates texts that are too long for its model.

        Returns:
            (N, D) float32, one row of unit length per text; (0, D) for no texts.

        Raises:
            InputError: If the embedder was configured to refuse long texts, or cannot embed an empty one.
        """
        ...


@runtime_checkable
class QueryEmbedder(Protocol):
    """An optional part of a `TextEmbedder`: embeds queries differently from the texts that answer them."""

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed N queries as (N, D) float32, one row of unit length per query."""
        ...


@runtime_checkable
class ImageQueryEmbedder(Protocol):
    """An optional part of an `Embedder`: embeds images that are queries differently from the images that it indexes."""

    def embed_image_queries(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed N RGB images (H, W, 3) uint8 as (N, D) float32, one row of unit length per image."""
        ...


@runtime_checkable
class Embedder(TextEmbedder, Protocol):
    """Turns images and texts into vectors of one space, where a cosine measures how well two of them match."""

    @property
    def capabilities(self) -> EmbedderCapabilities:
        """What the embedder can do; `EmbedderCapabilities()` if nothing is known."""
        ...

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed images.

        Args:
            frames: RGB images (H, W, 3) uint8 of any sizes.

        Returns:
            (N, D) float32, one row of unit length per image; (0, D) for no images.
        """
        ...


def embed_queries(embedder: TextEmbedder, texts: Sequence[str]) -> np.ndarray:
    """Embed queries with `embed_queries` of the embedder if it has that method, and with `embed_texts` otherwise."""
    return embedder.embed_queries(texts) if isinstance(embedder, QueryEmbedder) else embedder.embed_texts(texts)


def embed_image_queries(embedder: Embedder, frames: Sequence[Frame]) -> np.ndarray:
    """Embed images with `embed_image_queries` of the embedder if it has that method, otherwise with `embed_images`."""
    if isinstance(embedder, ImageQueryEmbedder):
        return embedder.embed_image_queries(frames)
    return embedder.embed_images(frames)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Scale every row of (N, D) to unit length, as float32; a row of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


class TextLimit:
    """Checks texts against the limit of a tokenizer, and logs the first one that is truncated.

    `limit` is in tokens, start and end markers included; `tokenizer` is one of transformers, as are its results.
    """

    def __init__(self, name: str, limit: int, tokenizer: Callable[..., Any], too_long: TooLong = "truncate") -> None:
        if too_long not in ("truncate", "error"):
            raise InputError(f"too_long is {too_long!r}; allowed are 'truncate' and 'error'")
        self.limit = limit
        self._name = name
        self._tokenizer = tokenizer
        self._too_long = too_long
        self._warned = False

    def check(self, texts: Sequence[str]) -> None:
        """Check the longest text. A token has at least one byte, so that most texts need not be counted."""
        longest = max(texts, key=len, default="")
        if (self._warned and self._too_long == "truncate") or len(longest.encode("utf-8", "replace")) + 2 <= self.limit:
            return
        tokens = len(self._tokenizer(longest, truncation=False, verbose=False)["input_ids"])
        if tokens <= self.limit:
            return
        if self._too_long == "error":
            raise InputError(
                f"{self._name} reads {self.limit} tokens of a text, and {longest[:40]!r}... has {tokens}; shorten it, "
                "or let long texts be truncated with too_long='truncate'"
            )
        self._warned = True
        message = "%s reads %d tokens of a text; the vector of a text with %d tokens ignores the rest of it"
        log.warning(message, self._name, self.limit, tokens)
