"""LangChain's DocumentIndex over a FlorenceVectorStore: a retriever that also stores documents."""

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
    """A FlorenceVectorStore as a DocumentIndex, which `langchain_core.indexing.index` also accepts.

    LangChain marks this interface as beta.

    Attributes:
        store: The vector store.
        k: The number of documents that a query returns, at least 1.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    store: FlorenceVectorStore = Field(exclude=True, repr=False)
    k: int = Field(default=4, ge=1)

    def upsert(self, items: Sequence[Document], /, **_: Any) -> UpsertResponse:
        """Store documents; each replaces the document that has its id."""
        return {"succeeded": self.store.add_documents(list(items)), "failed": []}

    def delete(self, ids: list[str] | None = None, **_: Any) -> DeleteResponse:
        """Delete documents.

        Raises:
            InputError: If no ids are given; it never deletes everything.
        """
        if ids is None:
            raise InputError("delete needs the ids of documents")
        known = [document.id for document in self.get(ids) if document.id]
        self.store.delete(known)
        return {"succeeded": known, "num_deleted": len(known), "failed": [], "num_failed": 0}

    def get(self, ids: Sequence[str], /, **_: Any) -> list[Document]:
        """Return the documents with these ids; unknown ids are skipped."""
        return self.store.get_by_ids(list(dict.fromkeys(ids)))

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **settings: Any
    ) -> list[Document]:
        return self.store.similarity_search(query, **{"k": self.k, **settings})
