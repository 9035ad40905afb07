"""Adapts any LangChain embeddings to the Embedder protocol of florence_rag."""

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
    """An Embedder over LangChain's interface. It embeds one text when it is created, to learn the dimension.

    Images are passed to `embed_images` or `embed_image`, which several integrations have, as a list of paths.

    Args:
        embeddings: The LangChain embeddings.
        name: The name that the index records; by default the class and its model.
    """

    def __init__(self, embeddings: Embeddings, name: str | None = None) -> None:
        self.embeddings = embeddings
        dimension = len(embeddings.embed_query(_PROBE))
        self.info = EmbedderInfo(name or _name(embeddings), "langchain", dimension, "langchain")

    @property
    def capabilities(self) -> EmbedderCapabilities:
        """The defaults, because the LangChain interface declares nothing."""
        return EmbedderCapabilities()

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as documents: (N, D) float32, unit length."""
        return self._rows(self.embeddings.embed_documents(list(texts)) if texts else [])

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts as queries: (N, D) float32, unit length."""
        return self._rows([self.embeddings.embed_query(text) for text in texts])

    def embed_images(self, frames: Sequence[Frame]) -> np.ndarray:
        """Embed images: (N, D) float32, unit length.

        Raises:
            InputError: If these embeddings support texts only.
        """
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
            f"{self.info.name} embeds texts only; for images use FlorenceEmbeddings, or embeddings with embed_images"
        )

    def _rows(self, vectors: Any) -> np.ndarray:
        return unit_rows(np.asarray(vectors, dtype=np.float32).reshape(len(vectors), self.info.dimension))


def embeddings_to_embedder(embeddings: Embeddings) -> Embedder:
    """Return the embedder of FlorenceEmbeddings, or an adapter for other embeddings."""
    return embeddings.embedder if isinstance(embeddings, FlorenceEmbeddings) else LangChainEmbedder(embeddings)


def embedder_to_embeddings(embedder: Embedder) -> Embeddings:
    """Return the embeddings of an adapter, or FlorenceEmbeddings for other embedders."""
    return embedder.embeddings if isinstance(embedder, LangChainEmbedder) else FlorenceEmbeddings(embedder=embedder)


def _name(embeddings: Embeddings) -> str:
    """Return a name that identifies the model, because an index must not be searched with another one."""
    model = next(
        (value for key in ("model", "model_name", "model_id") if (value := getattr(embeddings, key, None))), ""
    )
    name = type(embeddings).__qualname__
    return f"{name}({model})" if isinstance(model, str) and model else name
