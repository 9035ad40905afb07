"""A LangChain retriever over an index of images, clips, pages and texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field

from florence_rag import FlorenceRAG
from florence_rag.types import Kind
from langchain_florence._convert import hit_to_document


class FlorenceRetriever(BaseRetriever):
    """Documents for a text, a picture, or both.

    k, kinds, filter and group are the settings of `FlorenceRAG.search`; each can also be given for one call:

        retriever = FlorenceRetriever(rag=rag, k=5, kinds={"image"})
        retriever.invoke("a red bus", k=3)
        retriever.invoke("", image="query.jpg")          # a path, bytes, a PIL image or an array; with or without text
        await retriever.ainvoke("a red bus", filter={"metadata.city": "Rome"})

    Unlike `FlorenceRAG.search`, clips of one video are separate documents unless group is True.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    rag: FlorenceRAG = Field(exclude=True, repr=False)
    k: int = Field(default=5, ge=1)
    kinds: frozenset[Kind] | None = None
    filter: str | dict[str, Any] | None = None
    group: bool = False

    @classmethod
    def from_db(cls, db: str, model: str | None = None, **settings: Any) -> Self:
        """Over an existing database: `from_db("photos.db", k=3)`; `retriever.rag.close()` lets go of it."""
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
    ) -> list[Document]:
        hits = self.rag.search(
            query.strip() or None,
            image=image,
            k=self.k if k is None else k,
            kinds=self.kinds if kinds is None else kinds,
            filter=self.filter if filter is None else filter,
            group=self.group if group is None else group,
        )
        return [hit_to_document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **settings: Any
    ) -> list[Document]:
        return await run_in_executor(
            None, self._get_relevant_documents, query, run_manager=run_manager.get_sync(), **settings
        )
