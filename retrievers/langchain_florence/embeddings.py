"""A Florence dual encoder behind LangChain's Embeddings interface, for any vector store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from florence_rag import Embedder, FlorenceRAG
from florence_rag.chunking import read_image
from florence_rag.embedding.base import embed_queries
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model

BATCH_SIZE = 32
"""The number of images that are decoded at a time, because a folder of photographs does not fit into memory."""


class FlorenceEmbeddings(Embeddings):
    """Embeds texts and images as unit vectors of one space.

        FlorenceEmbeddings()                          # "florence-tiny", or model="name or folder"
        FlorenceEmbeddings(rag=rag)                   # the embedder of an open index
        FlorenceEmbeddings(embedder=my_embedder)      # any florence_rag.Embedder

    An image is a path, bytes, an open file, a PIL image or an (H, W, 3) uint8 array in RGB; URLs are not fetched.

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
        return _rows(self.embedder.embed_texts(texts))

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query, which some models embed differently from documents."""
        return _rows(embed_queries(self.embedder, [text]))[0]

    def embed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """Return one unit vector per image."""
        batches = (images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE))
        return [
            row
            for batch in batches
            for row in _rows(self.embedder.embed_images([read_image(image) for image in batch]))
        ]

    async def aembed_images(self, images: Sequence[Any]) -> list[list[float]]:
        """Call `embed_images` in a worker thread."""
        return await run_in_executor(None, self.embed_images, images)

    def __repr__(self) -> str:
        return f"FlorenceEmbeddings(model={self.model!r})"


def _rows(vectors: np.ndarray) -> list[list[float]]:
    rows: list[list[float]] = vectors.tolist()
    return rows
