"""Adapts a florence_rag embedder to LangChain's Embeddings interface, and LangChain embeddings to an Embedder."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from PIL import Image

from florence_rag import Embedder, EmbedderInfo, FlorenceRAG, InputError
from florence_rag.async_methods import in_thread
from florence_rag.batching import batched
from florence_rag.chunking import read_image
from florence_rag.embedding.base import EmbedderCapabilities, embed_queries, unit_rows
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from florence_rag.text_arguments import check_text, check_texts
from florence_rag.types import Frame
from florence_rag.validation import validate_arguments
from langchain_florence.images import block_to_image

BATCH_SIZE = 32
"""The number of images that are decoded at a time, because a folder of photographs does not fit into memory."""
_PROBE = "How many numbers are there?"


@validate_arguments
class FlorenceEmbeddings(Embeddings):
    """Embeds texts and images as unit vectors of one space.

        FlorenceEmbeddings()                          # "florence-tiny", or model="name or folder"
        FlorenceEmbeddings(rag=rag)                   # the embedder of an open index
        FlorenceEmbeddings(embedder=my_embedder)      # any florence_rag.Embedder

    An image is a path, a file: URL, a data URI, a content block, bytes, an open file, a PIL image or an (H, W, 3) uint8
    array in RGB; other URLs are not fetched.

    Args:
        model: The name or folder of a model, if neither `rag` nor `embedder` is given.
        rag: An open index, whose embedder is used.
        embedder: Any Embedder of florence_rag.
    """

    def __init__(
        self, model: str = "florence-tiny", *, rag: FlorenceRAG | None = None, embedder: Embedder | None = None
    ) -> None:
        self.embedder = embedder or (rag.models.embedder if rag else load_model(EMBEDDER, model))
        self.model = self.embedder.info.name

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit vector per text; texts are truncated to the length of the model."""
        rows: list[list[float]] = self.embedder.embed_texts(check_texts(texts, "text")).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query, which some models embed differently from documents."""
        row: list[float] = embed_queries(self.embedder, [check_text(text, "query")])[0].tolist()
        return row

    def embed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """Return one unit vector per image."""
        batches = ([read_image(block_to_image(image)) for image in batch] for batch in batched(images, BATCH_SIZE))
        return [row for frames in batches for row in self.embedder.embed_images(frames).tolist()]

    aembed_images = in_thread(embed_images)

    def __repr__(self) -> str:
        return f"FlorenceEmbeddings(model={self.model!r})"


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
        self.capabilities = EmbedderCapabilities()  # the defaults, because the LangChain interface declares nothing

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
        embed = getattr(self.embeddings, "embed_images", None) or getattr(self.embeddings, "embed_image", None)
        if embed is None:
            hint = "for images use FlorenceEmbeddings, or embeddings with embed_images"
            raise InputError(f"{self.info.name} embeds texts only; {hint}")
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder) / f"{i}.png") for i in range(len(frames))]
            for path, frame in zip(paths, frames, strict=True):
                Image.fromarray(frame).save(path, compress_level=1)
            return self._rows(embed(paths) if paths else [])

    def _rows(self, vectors: Any) -> np.ndarray:
        return unit_rows(np.asarray(vectors, dtype=np.float32).reshape(len(vectors), self.info.dimension))


@validate_arguments
def embeddings_to_embedder(embeddings: Embeddings) -> Embedder:
    """Return the embedder of FlorenceEmbeddings, or an adapter for other embeddings."""
    return embeddings.embedder if isinstance(embeddings, FlorenceEmbeddings) else LangChainEmbedder(embeddings)


@validate_arguments
def embedder_to_embeddings(embedder: Embedder) -> Embeddings:
    """Return the embeddings of an adapter, or FlorenceEmbeddings for other embedders."""
    return embedder.embeddings if isinstance(embedder, LangChainEmbedder) else FlorenceEmbeddings(embedder=embedder)


def _name(embeddings: Embeddings) -> str:
    """Return a name that identifies the model, because an index must not be searched with another one."""
    name = type(embeddings).__qualname__
    model = next(filter(None, (getattr(embeddings, key, None) for key in ("model", "model_name", "model_id"))), None)
    return f"{name}({model})" if isinstance(model, str) else name
