"""What the pipeline asks of an embedder: pictures and texts as unit vectors in one space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from florence_rag.types import EmbedderInfo, Frame


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


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Every row of (N, D) scaled to length one, as float32; a row of zeros stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
