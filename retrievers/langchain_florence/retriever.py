"""A LangChain retriever over an index of images, clips, pages and passages."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field

from florence_rag import FlorenceRAG, InputError
from florence_rag.chunking import read_image
from florence_rag.types import Hit, Kind, middle_frame
from florence_rag.viz.jpeg import thumbnail
from langchain_florence._convert import hit_to_document

SearchType = Literal["hybrid", "similarity", "mmr"]

IMAGES = "images"
"""The metadata key of a document's images, if they were requested."""


class FlorenceRetriever(BaseRetriever):
    """Retrieves documents by text, image or both.

    Every attribute can also be passed to one call:

        retriever = FlorenceRetriever(rag=rag, k=5, kinds={"image"})
        retriever.invoke("a red bus", k=3)
        retriever.invoke("", image="query.jpg")          # a path, bytes, a PIL image or an array; with or without text
        await retriever.ainvoke("a red bus", filter={"metadata.city": "Rome"}, search_type="mmr")

    Attributes:
        rag: The index.
        k: The number of documents, at least 1.
        kinds: The kinds of chunks to search; None for all.
        filter: A mapping of conditions, or a Milvus expression.
        group: Whether to return one document per video, with its other clips in metadata["grouped_hits"]; only for
            "hybrid".
        search_type: "hybrid" searches by visual similarity and terms, as `FlorenceRAG.search` does; "similarity" ranks
            by cosine; "mmr" selects k diverse documents among the fetch_k nearest.
        fetch_k: The number of candidates for "mmr", at least 1.
        lambda_mult: The weight of relevance for "mmr", from 0 (most diverse) to 1 (nearest).
        images: Whether each document carries its image (of a clip, the middle keyframe) as a standard content block in
            metadata["images"]; `documents_to_content` passes them to a chat model.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    rag: FlorenceRAG = Field(exclude=True, repr=False)
    k: int = Field(default=5, ge=1)
    kinds: frozenset[Kind] | None = None
    filter: str | dict[str, Any] | None = None
    group: bool = False
    search_type: SearchType = "hybrid"
    fetch_k: int = Field(default=20, ge=1)
    lambda_mult: float = Field(default=0.5, ge=0, le=1)
    images: bool = False

    @classmethod
    def from_db(cls, db: str, model: str | None = None, **settings: Any) -> Self:
        """Open a retriever over an existing database, such as `from_db("photos.db", k=3)`.

        Close the database with `retriever.rag.close()`.
        """
        return cls(rag=FlorenceRAG.open(db, model, create=False), **settings)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        image: Any = None,
        k: int | None = None,
        kinds: Collection[Kind] | None = None,
        filter: str | Mapping[str, Any] | None = None,
        group: bool | None = None,
        search_type: SearchType | None = None,
        fetch_k: int | None = None,
        lambda_mult: float | None = None,
        images: bool | None = None,
    ) -> list[Document]:
        scope = {
            "k": self.k if k is None else k,
            "kinds": self.kinds if kinds is None else kinds,
            "filter": self.filter if filter is None else filter,
        }
        diverse = {
            "fetch_k": self.fetch_k if fetch_k is None else fetch_k,
            "relevance": self.lambda_mult if lambda_mult is None else lambda_mult,
        }
        group = self.group if group is None else group
        hits = self._search(search_type or self.search_type, query.strip() or None, image, group, scope, diverse)
        images = self.images if images is None else images
        return [self._document(hit, images) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **settings: Any
    ) -> list[Document]:
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **settings
        )

    def _search(
        self,
        search_type: str,
        text: str | None,
        image: Any,
        group: bool,
        scope: dict[str, Any],
        diverse: dict[str, Any],
    ) -> list[Hit]:
        if search_type == "hybrid":
            return self.rag.search(text, image=image, group=group, **scope)
        if search_type not in ("similarity", "mmr"):
            raise InputError(f"search_type is {search_type!r}; it must be 'hybrid', 'similarity' or 'mmr'")
        if group:
            raise InputError(f"group is for search_type 'hybrid', not for {search_type!r}")
        vector = self.rag.retriever.embed_query(text, None if image is None else read_image(image))
        if search_type == "mmr":
            return self.rag.retriever.search_mmr(vector, **scope, **diverse)
        return self.rag.retriever.search_by_vector(vector, **scope)

    def _document(self, hit: Hit, images: bool) -> Document:
        document = hit_to_document(hit)
        if images:
            frames = self.rag.frames(hit)
            document.metadata[IMAGES] = [_to_block(thumbnail(middle_frame(frames), side_px=1024))] if frames else []
        return document


def documents_to_content(documents: Iterable[Document]) -> list[dict[str, Any]]:
    """Return content blocks for a message to a multimodal chat model: number, text and images of each document."""
    blocks: list[dict[str, Any]] = []
    for number, document in enumerate(documents, start=1):
        blocks.append({"type": "text", "text": f"[{number}] {document.page_content}"})
        blocks += document.metadata.get(IMAGES, ())
    return blocks


def _to_block(jpeg: bytes) -> dict[str, Any]:
    return {"type": "image", "mime_type": "image/jpeg", "base64": base64.b64encode(jpeg).decode()}
