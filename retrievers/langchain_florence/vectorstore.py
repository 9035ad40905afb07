"""A LangChain vector store that holds texts and images in one space."""

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
from florence_rag.chunking import read_image
from florence_rag.embedding.base import embed_queries
from florence_rag.index.address import image_folder
from florence_rag.types import Hit, Kind
from langchain_florence._convert import document_to_chunk, filter_to_core, stored_to_document
from langchain_florence.embedder import embedder_to_embeddings, embeddings_to_embedder


class FlorenceVectorStore(VectorStore):
    """Stores texts, images and parts of files, and finds them by text, image or vector.

        store = FlorenceVectorStore(rag)                                # an open index, with its files
        store = FlorenceVectorStore.open("notes.db", OpenAIEmbeddings())  # a database for any embeddings
        store = FlorenceVectorStore.from_documents(documents, FlorenceEmbeddings(), db="notes.db")

    A search takes k, kinds ({"image", "text", ...}) and filter. A filter is a mapping such as {"city": "Rome", "year":
    {"$gte": 2020}} over the metadata of documents and the fields "source", "kind", "start_s" and "end_s", or a Milvus
    expression. Scores are cosines, larger is better; relevance scores are (1 + cosine) / 2. Ids are texts of 1 to 512
    bytes. Adding to an id replaces its document, and embeds only what has changed. Files that `rag.add` has indexed are
    also found, but neither replaced nor deleted.

    Args:
        rag: An open index.
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
        """Open a database, or create it.

        Args:
            db: A file that ends in .db, or the URI of a Milvus server.
            embedding: The embeddings of texts, queries and, if they support them, images.
            collection: The name of the collection.
            token: The token of a server.
            pictures: A folder for images that are added without a file; by default one beside the database file.
        """
        from florence_rag.index.milvus import MilvusIndex

        embedder = embeddings_to_embedder(embedding)
        index = MilvusIndex.open(str(db), embedder.info, token=token, collection=collection)
        return cls(FlorenceRAG(index, embedder, images=pictures or image_folder(str(db), collection)))

    def close(self) -> None:
        """Close the database, so that another process can open it."""
        self.rag.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings of texts and queries."""
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
        """Store texts.

        Args:
            texts: The texts.
            metadatas: The metadata of each text.
            ids: The id of each text; None derives an id from the content.
            batch_size: Ignored; the index has its own batch size.

        Returns:
            The ids.
        """
        return self.rag.items.upsert_texts(texts, ids=ids, metadatas=metadatas)

    def add_documents(  # type: ignore[override]  # an unknown option is an error
        self, documents: Iterable[Document], *, ids: Sequence[str | None] | None = None, batch_size: int | None = None
    ) -> list[str]:
        """Store documents. Those of a FlorenceLoader are embedded from their images, others from their text.

        Args:
            documents: The documents.
            ids: Ids that replace those of the documents.
            batch_size: Ignored; the index has its own batch size.

        Returns:
            The ids.

        Raises:
            InputError: If the number of ids differs from the number of documents.
        """
        documents = list(documents)
        used_ids = [document.id for document in documents] if ids is None else ids
        if len(used_ids) != len(documents):
            raise InputError(f"ids must be a list with one value for each of the {len(documents)} documents")
        return self.rag.items.upsert_chunks(map(document_to_chunk, documents, used_ids))

    def add_images(
        self,
        images: Iterable[Any],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        captions: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Store images, embedded from their pixels.

        Args:
            images: Paths, bytes, open files, PIL images or (H, W, 3) uint8 arrays in RGB; URLs are not fetched.
            metadatas: The metadata of each image.
            ids: The id of each image; None derives an id from the content.
            captions: The caption of each image.

        Returns:
            The ids.
        """
        return self.rag.items.upsert_images(images, captions=captions, ids=ids, metadatas=metadatas)

    async def aadd_images(self, images: Iterable[Any], *args: Any, **options: Any) -> list[str]:
        """Call `add_images` in a worker thread."""
        return await run_in_executor(None, self.add_images, images, *args, **options)

    def delete(self, ids: Sequence[str] | None = None, **_: Any) -> bool:
        """Delete the items with these ids, or all items if ids is None; unknown ids are skipped."""
        self.rag.items.delete(self.rag.items.ids() if ids is None else list(ids))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in this order; unknown ids are skipped."""
        return [stored_to_document(hit) for hit in self.rag.get(list(ids))]

    # Searching

    def similarity_search(self, query: str, k: int = 4, **scope: Any) -> list[Document]:
        """Return the k documents nearest to a text."""
        return _documents(self._nearest(self._query(query), k, **scope))

    def similarity_search_with_score(self, query: str, k: int = 4, **scope: Any) -> list[tuple[Document, float]]:
        """Return the same documents with their cosines."""
        return _scored(self._nearest(self._query(query), k, **scope))

    def similarity_search_by_vector(self, embedding: Sequence[float], k: int = 4, **scope: Any) -> list[Document]:
        """Return the k documents nearest to a vector."""
        return _documents(self._nearest(embedding, k, **scope))

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float], k: int = 4, **scope: Any
    ) -> list[tuple[Document, float]]:
        """Return the same documents with their cosines."""
        return _scored(self._nearest(embedding, k, **scope))

    def similarity_search_by_image(self, image: Any, k: int = 4, **scope: Any) -> list[Document]:
        """Return the k documents nearest to an image: a path, bytes, an open file, a PIL image or an array."""
        return _documents(self._nearest(self.rag.retriever.embed_query(image=read_image(image)), k, **scope))

    def similarity_search_by_image_with_score(
        self, image: Any, k: int = 4, **scope: Any
    ) -> list[tuple[Document, float]]:
        """Return the same documents with their cosines."""
        return _scored(self._nearest(self.rag.retriever.embed_query(image=read_image(image)), k, **scope))

    async def asimilarity_search_by_image(self, image: Any, k: int = 4, **options: Any) -> list[Document]:
        """Call `similarity_search_by_image` in a worker thread."""
        return await run_in_executor(None, self.similarity_search_by_image, image, k, **options)

    async def asimilarity_search_by_image_with_score(
        self, image: Any, k: int = 4, **options: Any
    ) -> list[tuple[Document, float]]:
        """Call `similarity_search_by_image_with_score` in a worker thread."""
        return await run_in_executor(None, self.similarity_search_by_image_with_score, image, k, **options)

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **scope: Any,
    ) -> list[Document]:
        """Return k diverse documents among the fetch_k nearest to a text (maximal marginal relevance).

        Args:
            query: The text.
            k: The number of documents.
            fetch_k: The number of candidates.
            lambda_mult: The weight of relevance, from 0 (most diverse) to 1 (nearest).
            **scope: kinds and filter, as for the other searches.
        """
        return self.max_marginal_relevance_search_by_vector(self._query(query), k, fetch_k, lambda_mult, **scope)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | np.ndarray,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **scope: Any,
    ) -> list[Document]:
        """Return k diverse documents among the fetch_k nearest to a vector, such as that of an image."""
        found = self.rag.retriever.search_mmr
        return _documents(found(embedding, k, fetch_k=fetch_k, relevance=lambda_mult, **_to_core(**scope)))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max((1 + cosine) / 2, 0.0), 1.0)

    def _query(self, text: str) -> np.ndarray:
        vector: np.ndarray = embed_queries(self.rag.models.embedder, [text])[0]
        return vector

    def _nearest(self, vector: Sequence[float] | np.ndarray, k: int, **scope: Any) -> list[Hit]:
        return self.rag.retriever.search_by_vector(vector, k, **_to_core(**scope))

    # Creating

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
        """Create a store in the database db with these texts. `options` are those of `open`."""
        store = cls._open_new(db, embedding, options)
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
        """Create a store in the database db with these documents. `options` are those of `open`."""
        store = cls._open_new(db, embedding, options)
        store.add_documents(documents, ids=ids)
        return store

    @classmethod
    async def afrom_documents(cls, documents: Iterable[Document], embedding: Embeddings, **options: Any) -> Self:
        """Call `from_documents` in a worker thread."""
        return await run_in_executor(None, cls.from_documents, documents, embedding, **options)

    @classmethod
    def _open_new(cls, db: str | Path | None, embedding: Embeddings, options: Mapping[str, Any]) -> Self:
        if db is None:
            raise InputError('name a database: db="notes.db", or the URI of a Milvus server')
        return cls.open(db, embedding, **options)


def _to_core(*, filter: str | Mapping[str, Any] | None = None, kinds: Collection[Kind] | None = None) -> dict[str, Any]:
    """Return the filter and the kinds of a search; anything else is a TypeError."""
    return {"filter": filter_to_core(filter), "kinds": kinds}


def _documents(hits: Iterable[Hit]) -> list[Document]:
    return [stored_to_document(hit) for hit in hits]


def _scored(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    return [(stored_to_document(hit), hit.score) for hit in hits]
