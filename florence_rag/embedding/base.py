"""What the pipeline asks of an embedder: pictures and texts as unit vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from florence_rag.types import EmbedderInfo, Frame


@runtime_checkable
class TextEmbedder(Protocol):
    """Turns texts into vectors, where a cosine says how near in meaning two of them are. Every Embedder is one."""

    @property
    def info(self) -> EmbedderInfo:
        """What an index records, so that no other embedder is ever mixed in."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, unit length: one row per text, cut to what the model can read; (0, D) for none."""
        ...


@runtime_checkable
class QueryEmbedder(Protocol):
    """What an embedder may have besides: some models read a question otherwise than what answers it."""

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, unit length: one row per text that is searched with."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns pictures and texts into vectors of one space, where a cosine says how well two of them agree."""

    @property
    def info(self) -> EmbedderInfo:
        """What an index records, so that no other embedder is ever mixed in."""
        ...

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """(N, D) float32, unit length: one row per frame, whatever their sizes; (0, D) for none."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, unit length: one row per text, cut to what the model can read; (0, D) for none."""
        ...


def embed_queries(embedder: TextEmbedder, texts: Sequence[str]) -> np.ndarray:
    """(N, D): texts to search with, in the way of the embedder for these if it has one, else as any texts."""
    return embedder.embed_queries(texts) if isinstance(embedder, QueryEmbedder) else embedder.embed_texts(texts)


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Every row of (N, D) scaled to length one, as float32; a row of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
