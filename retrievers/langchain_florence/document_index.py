"""LangChain's DocumentIndex, a retriever that also stores, over a FlorenceVectorStore."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.indexing.base import DeleteResponse, DocumentIndex, UpsertResponse
from pydantic import ConfigDict, Field

from florence_rag import InputError
from langchain_florence.vectorstore import FlorenceVectorStore


class FlorenceDocumentIndex(DocumentIndex):
    """The store behind the interface that `langchain_core.indexing.index` takes as well. LangChain calls it beta."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    store: FlorenceVectorStore = Field(exclude=True, repr=False)
    k: int = Field(default=4, ge=1)

    def upsert(self, items: Sequence[Document], /, **_: Any) -> UpsertResponse:
        """Store documents, in place of what is stored under their ids."""
        return {"succeeded": self.store.add_documents(items), "failed": []}

    def delete(self, ids: list[str] | None = None, **_: Any) -> DeleteResponse:
        """Forget documents. InputError without ids: it never deletes all."""
        if ids is None:
            raise InputError("delete needs the ids of documents")
        known = [document.id for document in self.get(ids) if document.id]
        self.store.delete(known)
        return {"succeeded": known, "num_deleted": len(known), "failed": [], "num_failed": 0}

    def get(self, ids: Sequence[str], /, **_: Any) -> list[Document]:
        """The documents with these ids; unknown ids are left out."""
        return self.store.get_by_ids(list(dict.fromkeys(ids)))

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **settings: Any
    ) -> list[Document]:
        return self.store.similarity_search(query, **{"k": self.k, **settings})
