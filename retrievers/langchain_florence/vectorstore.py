"""A LangChain vector store that holds texts and images in one space, and a DocumentIndex over it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any, Self

import numpy as np
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.indexing.base import DeleteResponse, DocumentIndex, UpsertResponse
from langchain_core.vectorstores import VectorStore
from pydantic import ConfigDict, Field

from florence_rag import FlorenceRAG, InputError
from florence_rag.async_methods import in_thread
from florence_rag.errors import BatchError, ModelError, StoreUnavailableError
from florence_rag.index.address import image_folder
from florence_rag.ingest.items import text_to_chunk, zip_columns
from florence_rag.retrieval.query import to_query
from florence_rag.telemetry import get_logger
from florence_rag.tools import metadata_to_chunk, place_to_text
from florence_rag.types import Chunk, Hit, Kind
from florence_rag.validation import validate_arguments
from langchain_florence.embeddings import embedder_to_embeddings, embeddings_to_embedder
from langchain_florence.images import block_to_image
from langchain_florence.retriever import hit_to_document

log = get_logger(__name__)

_ARGUMENTS_OF_OTHER_STORES = {
    "expr": 'filter={"city": "Rome"}, or a Milvus expression, filter=\'metadata["city"] == "Rome"\'',
    "where": 'filter={"city": "Rome"}',
    "uris": "add_images([...])",
    "connection_args": 'db="notes.db", or db="http://host:19530"',
    "uri": 'db="notes.db", or db="http://host:19530"',
    "persist_directory": 'db="notes.db"',
    "collection_name": 'collection="notes"',
    "embedding_function": "embedding=...",
    "partition_key_field": "a key of the metadata, by which filters are fast",
    "partition_names": "a filter on a key of the metadata",
    "namespace": 'collection="notes", or a filter on a key of the metadata',
    "drop_old": "delete()",
}
"""What to write instead of keyword arguments that other vector stores have."""


@validate_arguments
class FlorenceVectorStore(VectorStore):
    """Stores texts, images and parts of files, and finds them by text, image or vector.

        store = FlorenceVectorStore(rag)                                # an open index, with its files
        store = FlorenceVectorStore.open("notes.db", OpenAIEmbeddings())  # a database for any embeddings
        store = FlorenceVectorStore.open("photos.db")                     # a database that records its model
        store = FlorenceVectorStore.from_documents(documents, FlorenceEmbeddings(), db="notes.db")

    A search takes k, kinds ({"image", "text", ...}) and filter. A filter is a mapping such as {"city": "Rome", "year":
    {"$gte": 2020}}, as `FlorenceRAG.search` takes it, or a Milvus expression. Scores are cosines, larger is better.
    Relevance scores are `Hit.relevance` of what `FlorenceRAG.search` finds. Ids are texts of 1 to 512 bytes. Adding to
    an id replaces its document, and embeds only what has changed. Files that `rag.add` has indexed are also found, but
    neither replaced nor deleted.

    Args:
        rag: An open index.
    """

    def __init__(self, rag: FlorenceRAG) -> None:
        self.rag = rag

    @classmethod
    def open(
        cls,
        db: str | Path,
        embedding: Embeddings | None = None,
        *,
        collection: str = "florence",
        tenant: str | None = None,
        token: str | None = None,
        images: str | Path | None = None,
        **unknown: Any,
    ) -> Self:
        """Open a database, or create it.

        Args:
            db: A file that ends in .db, or the URI of a Milvus server.
            embedding: The embeddings of texts, queries and, if they support them, images. By default the model that the
                database records, which must exist then.
            collection: The name of the collection.
            tenant: Whose part of the collection is opened, if it belongs to tenants.
            token: The token of a server.
            images: A folder for images that are added without a file; by default one next to the database.
            **unknown: Refused with a message that says what to write instead.

        Raises:
            StoreError: If no embeddings are given, and there is no database.
            ModelError: If no embeddings are given, and the database was filled by embeddings of LangChain.
        """
        from florence_rag.index.milvus import MilvusIndex
        from florence_rag.index.tenants import with_tenant

        _refuse(unknown)
        if embedding is None:
            try:
                return cls(
                    FlorenceRAG.open(db, collection=collection, tenant=tenant, token=token, images=images, create=False)
                )
            except (ModelError, StoreUnavailableError) as error:
                raise type(error)(f"{error}; or name the embeddings, open(db, embeddings)") from error
        embedder = embeddings_to_embedder(embedding)
        collection = with_tenant(collection, tenant)
        index = MilvusIndex.open(str(db), embedder.info, token=token, collection=collection)
        return cls(FlorenceRAG(index, embedder, images=images or image_folder(str(db), collection)))

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        db: str | Path | None = None,
        **options: Any,
    ) -> Self:
        """Create a store in the database db with these texts. `options` are those of `open`."""
        _refuse(options)
        if db is None:
            raise InputError('name a database: db="notes.db", or the URI of a Milvus server')
        store = cls.open(db, embedding, **options)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def close(self) -> None:
        """Close the database, so that another process can open it."""
        self.rag.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
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
        """Store texts and return their ids; parts of files from a FlorenceLoader are embedded from their images.

        `add_documents` passes the documents' texts, metadata and ids to this method.

        Args:
            texts: The texts.
            metadatas: The metadata of each text.
            ids: The id of each text; None derives an id from the content.
            batch_size: Ignored; the index has its own batch size.

        Raises:
            BatchError: If texts cannot be stored. All others are stored; the error has their ids.
        """
        return self.rag.items.upsert_chunks(starmap(_to_chunk, zip_columns(texts, ids=ids, metadatas=metadatas)))

    def add_images(
        self,
        images: Iterable[Any] = (),
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        captions: Sequence[str | None] | None = None,
        **unknown: Any,
    ) -> list[str]:
        """Store images, embedded from their pixels, and return their ids.

        Args:
            images: Paths, file: URLs, data URIs, content blocks, bytes, open files, PIL images or (H, W, 3) uint8
                arrays in RGB; other URLs are not fetched.
            metadatas: The metadata of each image.
            ids: The id of each image; None derives an id from the content.
            captions: The caption of each image.
            **unknown: Refused with a message that says what to write instead.

        Raises:
            BatchError: If images cannot be read or stored. All others are stored.
        """
        _refuse(unknown)
        return self.rag.items.upsert_images(
            map(block_to_image, images), captions=captions, ids=ids, metadatas=metadatas
        )

    aadd_images = in_thread(add_images)

    def delete(self, ids: Sequence[str] | None = None, **unknown: Any) -> bool:
        """Delete the items with these ids, or all items if ids is None; unknown ids are skipped."""
        _refuse(unknown)
        self.rag.items.delete(self.rag.items.ids() if ids is None else list(ids))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in this order; unknown ids are skipped."""
        return [_stored_document(hit) for hit in self.rag.get(list(ids))]

    # Searching

    def similarity_search(self, query: str, k: int = 4, **scope: Any) -> list[Document]:
        """Return the k documents nearest to a text."""
        return _documents(self.similarity_search_with_score(query, k, **scope))

    def similarity_search_with_score(self, query: str, k: int = 4, **scope: Any) -> list[tuple[Document, float]]:
        """Return the same documents with their cosines."""
        return self.similarity_search_with_score_by_vector(self._embed(query), k, **scope)

    def similarity_search_by_vector(self, embedding: Sequence[float], k: int = 4, **scope: Any) -> list[Document]:
        """Return the k documents nearest to a vector."""
        return _documents(self.similarity_search_with_score_by_vector(embedding, k, **scope))

    def similarity_search_with_score_by_vector(
        self, embedding: Sequence[float] | np.ndarray, k: int = 4, **scope: Any
    ) -> list[tuple[Document, float]]:
        """Return the same documents with their cosines."""
        hits = self.rag.retriever.search_by_vector(embedding, k, **_to_core(**scope))
        return [(_stored_document(hit), hit.score) for hit in hits]

    def similarity_search_by_image(self, image: Any, k: int = 4, **scope: Any) -> list[Document]:
        """Return the k documents nearest to an image: a path, bytes, an open file, a PIL image or an array."""
        return _documents(self.similarity_search_by_image_with_score(image, k, **scope))

    def similarity_search_by_image_with_score(
        self, image: Any, k: int = 4, **scope: Any
    ) -> list[tuple[Document, float]]:
        """Return the same documents with their cosines."""
        vector = self.rag.retriever.embed_query(to_query(None, block_to_image(image)))
        return self.similarity_search_with_score_by_vector(vector, k, **scope)

    asimilarity_search_by_image = in_thread(similarity_search_by_image)
    asimilarity_search_by_image_with_score = in_thread(similarity_search_by_image_with_score)

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **scope: Any
    ) -> list[Document]:
        """Return k diverse documents among the fetch_k nearest to a text; lambda_mult 0 is the most diverse."""
        return self.max_marginal_relevance_search_by_vector(self._embed(query), k, fetch_k, lambda_mult, **scope)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | np.ndarray,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **scope: Any,
    ) -> list[Document]:
        """Return k diverse documents among the fetch_k nearest to a vector, such as that of an image."""
        options = _to_core(**scope)
        hits = self.rag.retriever.search_mmr(embedding, k, fetch_k=fetch_k, relevance=lambda_mult, **options)
        return [_stored_document(hit) for hit in hits]

    def similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, *, score_threshold: float | None = None, **scope: Any
    ) -> list[tuple[Document, float]]:
        """Return the k documents that `FlorenceRAG.search` finds, with their relevance, the most relevant first.

        `score_threshold` is its `min_relevance`: with one, a matcher judges images, too.
        """
        hits = self.rag.search(query, k=k, group=False, min_relevance=score_threshold, **_to_core(**scope))
        scored = [(_stored_document(hit), hit.relevance or 0.0) for hit in hits]
        return sorted(scored, key=lambda pair: -pair[1])

    asimilarity_search_with_relevance_scores = in_thread(similarity_search_with_relevance_scores)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max((1 + cosine) / 2, 0.0), 1.0)

    def _embed(self, text: str) -> np.ndarray:
        return self.rag.retriever.embed_query(text)


@validate_arguments
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
        """Store documents; each replaces the document that has its id. The reasons of failures are logged."""
        try:
            return {"succeeded": self.store.add_documents(list(items)), "failed": []}
        except InputError as error:
            log.warning("%s", error)
            stored, failed = (error.stored, error.reasons) if isinstance(error, BatchError) else ([], range(len(items)))
            return {"succeeded": stored, "failed": [items[i].id or f"items[{i}]" for i in failed]}

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


def _to_chunk(text: str, id: str | None, metadata: Mapping[str, Any] | None) -> Chunk:
    return metadata_to_chunk(metadata or {}, text, id) or text_to_chunk(text, id, metadata)


def _to_core(
    *, filter: str | Mapping[str, Any] | None = None, kinds: Collection[Kind] | None = None, **unknown: Any
) -> dict[str, Any]:
    """Return the filter and the kinds of a search; anything else is a TypeError."""
    _refuse(unknown)
    return {"filter": filter, "kinds": kinds}


def _refuse(unknown: Mapping[str, Any]) -> None:
    """Raise TypeError for a keyword argument that a method does not have; it says what to write instead."""
    for name in unknown.keys() & _ARGUMENTS_OF_OTHER_STORES.keys():
        raise TypeError(f"FlorenceVectorStore has no argument {name!r}; write {_ARGUMENTS_OF_OTHER_STORES[name]}")
    for name in unknown:
        raise TypeError(f"FlorenceVectorStore has no argument {name!r} here")


def _stored_document(hit: Hit) -> Document:
    """Return an item as it was added, with kind and locator for an image; return a chunk of a file as a hit."""
    if not hit.is_item:
        return hit_to_document(hit)
    location = {} if hit.kind == "text" else {"kind": hit.kind, "locator": hit.locator.to_dict()}
    text = hit.content or ("" if hit.kind == "text" else place_to_text(hit))
    return Document(id=hit.id, page_content=text, metadata={**hit.public_metadata, **location})


def _documents(scored: Iterable[tuple[Document, float]]) -> list[Document]:
    return [document for document, _ in scored]
