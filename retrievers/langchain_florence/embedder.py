"""Any LangChain embeddings as an embedder of florence_rag."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from PIL import Image

from florence_rag import Embedder, EmbedderInfo, InputError
from florence_rag.embedding.base import EmbedderCapabilities, unit_rows
from florence_rag.types import Frame
from langchain_florence.embeddings import FlorenceEmbeddings

_PROBE = "How many numbers are there?"


class LangChainEmbedder:
    """An Embedder over LangChain's interface. Asks once for a vector, to learn its length.

    Pictures go to `embed_images` or `embed_image`, which several integrations have, as a list of paths; where there is
    neither, they are an InputError. name: what the index records; by default the class and its model.
    """

    def __init__(self, embeddings: Embeddings, name: str | None = None) -> None:
        self.embeddings = embeddings
        dimension = len(embeddings.embed_query(_PROBE))
        self.info = EmbedderInfo(name or _name(embeddings), "langchain", dimension, "langchain")

    @property
    def capabilities(self) -> EmbedderCapabilities:
        """The defaults, as the interface of LangChain says nothing about them."""
        return EmbedderCapabilities()

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D): as documents."""
        return self._rows(self.embeddings.embed_documents(list(texts)) if texts else [])

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D): as queries."""
        return self._rows([self.embeddings.embed_query(text) for text in texts])

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """(N, D): of pictures, where these embeddings can."""
        embed = self._image_method()
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{i}.png") for i in range(len(frames))]
            for path, frame in zip(paths, frames, strict=True):
                Image.fromarray(frame).save(path, compress_level=1)
            return self._rows(embed(paths) if paths else [])

    def _image_method(self) -> Callable[[list[str]], Any]:
        for name in ("embed_images", "embed_image"):
            if callable(method := getattr(self.embeddings, name, None)):
                return method  # type: ignore[no-any-return]
        raise InputError(
            f"{self.info.name} embeds texts only; for pictures use FlorenceEmbeddings, or others with embed_images"
        )

    def _rows(self, vectors: Any) -> np.ndarray:
        return unit_rows(np.asarray(vectors, dtype=np.float32).reshape(len(vectors), self.info.dimension))


def embeddings_to_embedder(embeddings: Embeddings) -> Embedder:
    """Our own embedder out of FlorenceEmbeddings, or an adapter."""
    return embeddings.embedder if isinstance(embeddings, FlorenceEmbeddings) else LangChainEmbedder(embeddings)


def embedder_to_embeddings(embedder: Embedder) -> Embeddings:
    """The other way round."""
    return embedder.embeddings if isinstance(embedder, LangChainEmbedder) else FlorenceEmbeddings(embedder=embedder)


def _name(embeddings: Embeddings) -> str:
    """What tells these embeddings from others: an index filled by one model must not be searched by another."""
    model = next(
        (value for key in ("model", "model_name", "model_id") if (value := getattr(embeddings, key, None))), ""
    )
    name = type(embeddings).__qualname__
    return f"{name}({model})" if isinstance(model, str) and model else name
