"""A LangChain vector store that holds texts and pictures in one space."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

from florence_rag import FlorenceRAG, InputError
from florence_rag.embedding.base import embed_queries
from florence_rag.index.address import image_folder
from florence_rag.types import Hit, Kind
from langchain_florence._convert import document_to_chunk, filter_to_core, stored_to_document
from langchain_florence.embedder import embedder_to_embeddings, embeddings_to_embedder


class FlorenceVectorStore(VectorStore):
    """Texts, pictures and parts of files, found by text, by picture or by vector.

        store = FlorenceVectorStore(rag)                                # an open index, with its files
        store = FlorenceVectorStore.open("notes.db", OpenAIEmbeddings())  # a database for any embeddings
        store = FlorenceVectorStore.from_documents(documents, FlorenceEmbeddings(), db="notes.db")

    A search takes k, kinds ({"image", "text", ...}) and filter: {"city": "Rome", "year": {"$gte": 2020}} for metadata
    of documents, where "source", "kind", "start_s" and "end_s" are those of indexed files, too; or a Milvus expression.
    Scores are cosines, larger is better; relevance scores are (1 + cosine) / 2.
    Ids are any texts of 1 to 512 bytes; adding to an id replaces what it held, and embeds only what has changed. Files
    that `rag.add` has indexed are found, too, but neither replaced nor deleted here.
    """

    def __init__(self, rag: FlorenceRAG) -> None:
        self.rag = rag

    @classmethod
    def open(
        cls,
        db: str | Path,
        embedding: Embeddings,
        *,
        collection: str = "florence",
        token: str | None = None,
        pictures: str | Path | None = None,
    ) -> Self:
        """A database of its own: a file ending in .db, or the URI of a Milvus server. It is made if need be.

        pictures: a folder for pictures that are added without a file, by default one beside the database.
        """
        from florence_rag.index.milvus import MilvusIndex

        embedder = embeddings_to_embedder(embedding)
        index = MilvusIndex.open(str(db), embedder.info, token=token, collection=collection)
        return cls(FlorenceRAG(index, embedder, images=pictures or image_folder(str(db), collection)))

    def close(self) -> None:
        """Let go of the database, so that another process can open it."""
        self.rag.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def embeddings(self) -> Embeddings:
        """What embeds texts and queries."""
        return embedder_to_embeddings(self.rag.models.embedder)

    # Adding and deleting

    def add_texts(  # type: ignore[override]  # an unknown option is an error
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
    ) -> list[str]:
        """Store texts; their ids. batch_size is LangChain's, and of no effect: the index has its own."""
        return self.rag.items.upsert_texts(texts, ids=ids, metadatas=metadatas)

    def add_documents(  # type: ignore[override]  # an unknown option is an error
        self, documents: Iterable[Document], *, ids: Sequence[str | None] | None = None, batch_size: int | None = None
    ) -> list[str]:
        """Store documents; their ids. Those of a FlorenceLoader are embedded by their pictures, others by their text.

        ids: stand in for those of the documents.
        """
        documents = list(documents)
        given = [document.id for document in documents] if ids is None else ids
        if len(given) != len(documents):
            raise InputError(f"ids must be a list with one value for each of the {len(documents)} documents")
        return self.rag.items.upsert_chunks(map(document_to_chunk, documents, given))

    def add_images(
        self,
        images: Iterable[Any],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        captions: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Store pictures, embedded by what they show; their ids.

        A picture is a path, bytes, an open file, a PIL image or an (H, W, 3) uint8 array; URLs are not fetched.
        """
        return self.rag.items.upsert_images(images, captions=captions, ids=ids, metadatas=metadatas)

    async def aadd_images(self, images: Iterable[Any], *args: Any, **options: Any) -> list[str]:
        """add_images in a worker thread."""
        return await run_in_executor(None, self.add_images, images, *args, **options)

    def delete(self, ids: Sequence[str] | None = None, **_: Any) -> bool:
        """Forget what was added under these ids, or all that was ever added; unknown ids are passed over."""
        self.rag.items.delete(self.rag.items.ids() if ids is None else list(ids))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents with these ids, in their order; unknown ids are left out."""
        return [stored_to_document(hit) for hit in self.rag.get(list(ids))]

    # Searching

    def similarity_search(self, query: str, k: int = 4, **within: Any) -> list[Document]:
        """The k documents nearest to a text."""
        return _documents(self._nearest(self._query(query), k, **within))

    def similarity_search_with_score(self, query: str, k: int = 4, **within: Any) -> list[tuple[Document, float]]:
        """The same with their cosines."""
        return _scored(self._nearest(self._query(query), k, **within))

    def similarity_search_by_vector(self, embedding: Sequence[float], k: int = 4, **within: Any) -> list[Document]:
        """The k documents nearest to a vector."""
        return _documents(self._nearest(embedding, k, **within))

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float], k: int = 4, **within: Any
    ) -> list[tuple[Document, float]]:
        """The same with their cosines."""
        return _scored(self._nearest(embedding, k, **within))

    def similarity_search_by_image(self, image: Any, k: int = 4, **within: Any) -> list[Document]:
        """The k documents nearest to a picture: a path, bytes, an open file, a PIL image or an array."""
        return _documents(self._nearest(self.rag.embed_query(image=image), k, **within))

    def similarity_search_by_image_with_score(
        self, image: Any, k: int = 4, **within: Any
    ) -> list[tuple[Document, float]]:
        """The same with their cosines."""
        return _scored(self._nearest(self.rag.embed_query(image=image), k, **within))

    async def asimilarity_search_by_image(self, image: Any, k: int = 4, **options: Any) -> list[Document]:
        """similarity_search_by_image in a worker thread."""
        return await run_in_executor(None, self.similarity_search_by_image, image, k, **options)

    async def asimilarity_search_by_image_with_score(
        self, image: Any, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """similarity_search_by_image_with_score in a worker thread."""
        return await run_in_executor(None, self.similarity_search_by_image_with_score, image, k, **options)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **within: Any,
    ) -> list[Document]:
        """k of the fetch_k documents nearest to a text that differ from each other.

        lambda_mult: from 0, as different as can be, to 1, the nearest.
        """
        return self.max_marginal_relevance_search_by_vector(self._query(query), k, fetch_k, lambda_mult, **within)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | np.ndarray,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **within: Any,
    ) -> list[Document]:
        """The same for a vector, such as one of a picture."""
        found = self.rag.search_mmr
        return _documents(found(embedding, k, fetch_k=fetch_k, relevance=lambda_mult, **_to_core(**within)))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max((1 + cosine) / 2, 0.0), 1.0)

    def _query(self, text: str) -> np.ndarray:
        vector: np.ndarray = embed_queries(self.rag.models.embedder, [text])[0]
        return vector

    def _nearest(self, vector: Sequence[float] | np.ndarray, k: int, **within: Any) -> list[Hit]:
        return self.rag.search_by_vector(vector, k, **_to_core(**within))

    # Making one

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        db: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """A store in the database db with these texts in it. options: those of `open`."""
        store = cls._opened(db, embedding, options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        embedding: Embeddings,
        *,
        ids: Sequence[str | None] | None = None,
        db: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """A store in the database db with these documents in it. options: those of `open`."""
        store = cls._opened(db, embedding, options)
        store.add_documents(documents, ids=ids)
        return store

    @classmethod
    async def afrom_documents(cls, documents: Iterable[Document], embedding: Embeddings, **options: Any) -> Self:
        """from_documents in a worker thread."""
        return await run_in_executor(None, cls.from_documents, documents, embedding, **options)

    @classmethod
    def _opened(cls, db: str | Path | None, embedding: Embeddings, options: Mapping[str, Any]) -> Self:
        if db is None:
            raise InputError('name a database: db="notes.db", or the URI of a Milvus server')
        return cls.open(db, embedding, **options)


def _to_core(*, filter: str | Mapping[str, Any] | None = None, kinds: Collection[Kind] | None = None) -> dict[str, Any]:
    """What a search may be narrowed by; anything else is a TypeError."""
    return {"filter": filter_to_core(filter), "kinds": kinds}


def _documents(hits: Iterable[Hit]) -> list[Document]:
    return [stored_to_document(hit) for hit in hits]


def _scored(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    return [(stored_to_document(hit), hit.score) for hit in hits]
