"""Florence's two towers behind LlamaIndex's MultiModalEmbedding interface."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.schema import BaseNode, ImageType

from florence_rag import Embedder, FlorenceRAG
from florence_rag.chunking import read_image
from florence_rag.embedding.base import embed_queries
from florence_rag.loading.loaders import EMBEDDER
from florence_rag.loading.model_loader import load_model
from llama_index_florence._convert import node_to_image

_READING_THREADS = 4
_REMEMBERED = 100_000  # vectors, 20 MB

Made = Literal["image", "text"]
"""What a vector was made of."""


class FlorenceEmbedding(MultiModalEmbedding):
    """Texts and pictures as unit vectors of one space.

        FlorenceEmbedding()                          # "florence-tiny", or model_name="name or folder"
        FlorenceEmbedding(rag=rag)                   # the embedder of an open index
        FlorenceEmbedding(embedder=my_embedder)      # any florence_rag.Embedder

    A picture is a path or an open file; URLs are not fetched. As a transformation of an IngestionPipeline it embeds a
    node that has a picture by its picture, and any other by its words.
    """

    embed_batch_size: int = Field(
        default=32, gt=0, le=2048, description="How many pictures or texts are embedded at once."
    )
    fingerprint: str = ""
    """Digest of the weights: caches of LlamaIndex keyed by the settings never mix two models of one name."""

    _embedder: Embedder = PrivateAttr()
    _made: OrderedDict[bytes, Made] = PrivateAttr(default_factory=OrderedDict)

    def __init__(
        self,
        model_name: str = "florence-tiny",
        *,
        rag: FlorenceRAG | None = None,
        embedder: Embedder | None = None,
        **settings: Any,
    ) -> None:
        chosen = embedder or (rag.models.embedder if rag else load_model(EMBEDDER, model_name))
        super().__init__(**{**settings, "model_name": chosen.info.name, "fingerprint": chosen.info.fingerprint})
        self._embedder = chosen

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "FlorenceEmbedding"

    def made_of(self, vector: Sequence[float]) -> Made | None:
        """What this very object has made a vector of, if it has, and not too long ago.

        So a store can tell which to trust: LlamaIndex may have embedded the words of a node that has a picture.
        """
        return self._made.get(_digest(vector))

    def __call__(self, nodes: Sequence[BaseNode], **options: Any) -> Sequence[BaseNode]:
        """The nodes, each with its vector."""
        seen, images, read = _split_by_image(nodes)
        super().__call__(read, **options)
        for node, vector in zip(seen, self.get_image_embedding_batch(images, **options), strict=True):
            node.embedding = vector
        return nodes

    async def acall(self, nodes: Sequence[BaseNode], **options: Any) -> Sequence[BaseNode]:
        """The same; the event loop goes on."""
        seen, images, read = _split_by_image(nodes)
        await super().acall(read, **options)
        for node, vector in zip(seen, await self.aget_image_embedding_batch(images, **options), strict=True):
            node.embedding = vector
        return nodes

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._vectors(self._embedder.embed_texts(texts), "text")

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Embedding:
        """Some models read what is searched with otherwise than what they find."""
        rows: list[Embedding] = embed_queries(self._embedder, [query]).tolist()
        return rows[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        with ThreadPoolExecutor(_READING_THREADS) as pool:
            frames = list(pool.map(read_image, img_file_paths))
        return self._vectors(self._embedder.embed_images(frames), "image")

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

    def _vectors(self, rows: np.ndarray, of: Made) -> list[Embedding]:
        vectors: list[Embedding] = rows.tolist()
        self._made.update((_digest(vector), of) for vector in vectors)
        while len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)
        return vectors

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)

    async def _aget_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)


def _digest(vector: Sequence[float]) -> bytes:
    return hashlib.blake2b(np.asarray(vector, dtype=np.float32).tobytes(), digest_size=16).digest()


def _split_by_image(nodes: Sequence[BaseNode]) -> tuple[list[BaseNode], list[ImageType], list[BaseNode]]:
    """The nodes that have a picture, their pictures, and the other nodes."""
    seen: list[BaseNode] = []
    images: list[ImageType] = []
    read: list[BaseNode] = []
    for node in nodes:
        picture = node_to_image(node)
        if picture is None:
            read.append(node)
            continue
        seen.append(node)
        images.append(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
    return seen, images, read
