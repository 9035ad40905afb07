"""Florence's two towers behind LlamaIndex's MultiModalEmbedding interface."""

from __future__ import annotations

import asyncio
from typing import Any

from llama_index.core.base.embeddings.base import Embedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.embeddings.multi_modal_base import MultiModalEmbedding
from llama_index.core.schema import ImageType

from florence_rag import Embedder, FlorenceRAG
from florence_rag.chunking import read_image
from florence_rag.embedding.base import embed_queries
from florence_rag.pipeline.opening import open_embedder


class FlorenceEmbedding(MultiModalEmbedding):
    """Texts and pictures as unit vectors of one space.

        FlorenceEmbedding()                          # "florence-tiny", or model_name="name or folder"
        FlorenceEmbedding(rag=rag)                   # the embedder of an open index
        FlorenceEmbedding(embedder=my_embedder)      # any florence_rag.Embedder

    A picture is a path or an open file; URLs are not fetched.
    """

    fingerprint: str = ""
    """Digest of the weights: caches of LlamaIndex keyed by the settings never mix two models of one name."""

    _embedder: Embedder = PrivateAttr()

    def __init__(
        self,
        model_name: str = "florence-tiny",
        *,
        rag: FlorenceRAG | None = None,
        embedder: Embedder | None = None,
        **settings: Any,
    ) -> None:
        chosen = embedder or (rag.embedder if rag else open_embedder(model_name))
        super().__init__(**{**settings, "model_name": chosen.info.name, "fingerprint": chosen.info.fingerprint})
        self._embedder = chosen

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "FlorenceEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        rows: list[Embedding] = self._embedder.embed_texts(texts).tolist()
        return rows

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> Embedding:
        """Some models read what is searched with otherwise than what they find."""
        rows: list[Embedding] = embed_queries(self._embedder, [query]).tolist()
        return rows[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[Embedding]:
        rows: list[Embedding] = self._embedder.embed_images([read_image(image) for image in img_file_paths]).tolist()
        return rows

    def _get_image_embedding(self, img_file_path: ImageType) -> Embedding:
        return self._get_image_embeddings([img_file_path])[0]

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
