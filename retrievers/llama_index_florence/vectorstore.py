"""A LlamaIndex vector store over an index of florence_rag: nodes with texts and images, next to indexed files."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from florence_rag import FlorenceRAG, InputError
from florence_rag.types import Chunk, Frame, Hit, middle_frame
from llama_index_florence._convert import hit_to_node, node_to_image
from llama_index_florence._items import hit_to_own_node, node_to_file_chunk, node_to_metadata
from llama_index_florence.embedding import FlorenceEmbedding, Modality
from llama_index_florence.filters import NODE, all_of, any_of, filters_to_expression, one_of

_MMR_DEPTH = 4  # times k candidates for k diverse hits


class FlorenceVectorStore(BasePydanticVectorStore):
    """Stores nodes as items of an index, for VectorStoreIndex, MultiModalVectorStoreIndex and IngestionPipeline.

        store = FlorenceVectorStore(rag)                       # or FlorenceVectorStore.from_db("photos.db")
        index = VectorStoreIndex.from_vector_store(store, embed_model=store.embed_model)

    A node with an image is embedded from its pixels, any other node from its text, always by the index's own embedder.
    Vectors that nodes carry are used only if `embed_model` computed them from the same modality. One store can be both
    stores of a MultiModalVectorStoreIndex. Indexed files are found as well, as `FlorenceRetriever` returns them.

    Query modes: default by vector; sparse and text_search by terms; hybrid as `FlorenceRAG.search`; mmr with
    mmr_threshold from 0 (most diverse) to 1 (nearest). For filters, see `llama_index_florence.filters`. A
    VectorStoreIndex that was given ImageNodes searches only these; one that is created by from_vector_store, and a
    MultiModalVectorStoreIndex, search everything.

    Args:
        rag: An open index.
        embed_model: The embedding of the index; by default one over the index's embedder.
        **settings: The fields of this class.

    Raises:
        InputError: If embed_model is another model than that of the index.
    """

    stores_text: bool = True
    images: bool = Field(default=True, description="Whether returned nodes hold their images.")

    _rag: FlorenceRAG = PrivateAttr()
    _embed_model: FlorenceEmbedding = PrivateAttr()

    def __init__(self, rag: FlorenceRAG, *, embed_model: FlorenceEmbedding | None = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._rag = rag
        self._embed_model = embed_model or FlorenceEmbedding(rag=rag)
        if self._embed_model.fingerprint != rag.models.embedder.info.fingerprint:
            raise InputError(
                f"embed_model is {self._embed_model.model_name!r}, but the index was filled by "
                f"{rag.models.embedder.info.name!r}; omit embed_model to use the store's own"
            )

    @classmethod
    def from_db(cls, db: str, model: str | None = None, **settings: Any) -> Self:
        """Open a store over a database, which is created if necessary; close it with `store.client.close()`."""
        return cls(FlorenceRAG.open(db, model), **settings)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serializes this class."""
        return "FlorenceVectorStore"

    @property
    def client(self) -> FlorenceRAG:
        """The index."""
        return self._rag

    @property
    def embed_model(self) -> FlorenceEmbedding:
        """The index's embedder, for LlamaIndex; vectors that this object computed are reused."""
        return self._embed_model

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Store nodes, replacing those with the same ids; return their ids."""
        chunks: list[Chunk] = []
        images: list[tuple[BaseNode, str | bytes]] = []
        texts: list[BaseNode] = []
        for node in nodes:
            if chunk := node_to_file_chunk(node):
                chunks.append(chunk)
            elif image := node_to_image(node):
                images.append((node, image))
            else:
                texts.append(node)
        self._rag.items.upsert_chunks(chunks)
        self._upsert_images(images)
        self._upsert_texts(texts)
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **options: Any) -> list[str]:
        """Do the same without blocking the event loop."""
        return await asyncio.to_thread(self.add, nodes, **options)

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the nodes of a document. Chunks of files stay; `FlorenceRAG.add(..., prune=True)` deletes them."""
        self._rag.items.delete(
            [hit.id for hit in self._rag.index.find(filter={f"metadata.{NODE}.ref_doc_id": ref_doc_id})]
        )

    async def adelete(self, ref_doc_id: str, **options: Any) -> None:
        """Do the same without blocking the event loop."""
        await asyncio.to_thread(self.delete, ref_doc_id, **options)

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any) -> None:
        """Delete nodes by id, by filter, or by both.

        Raises:
            InputError: If neither is given; use `clear` to delete all nodes.
        """
        if node_ids is None and filters is None:
            raise InputError("neither node_ids nor filters were given; clear() deletes all nodes")
        self._rag.items.delete([hit.id for hit in self._find(node_ids, filters)])

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **options: Any
    ) -> None:
        """Do the same without blocking the event loop."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **options)

    def clear(self) -> None:
        """Delete all nodes; chunks of files stay."""
        self._rag.items.delete(self._rag.items.ids())

    async def aclear(self) -> None:
        """Do the same without blocking the event loop."""
        await asyncio.to_thread(self.clear)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the matching nodes in the order of the ids; without ids, all matching nodes, sorted by id."""
        return [self._node(hit) for hit in self._find(node_ids, filters)]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Do the same without blocking the event loop."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """Return the best nodes first; similarities are comparable within one query."""
        hits = self._hits(query, _restriction(query) or None, **options)
        return VectorStoreQueryResult(
            nodes=[self._node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.id for hit in hits],
        )

    async def aquery(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """Do the same without blocking the event loop."""
        return await asyncio.to_thread(self.query, query, **options)

    def persist(self, persist_path: str = "", fs: Any = None) -> None:
        """Flush the index; persist_path is ignored, because the database is stored elsewhere."""
        self._rag.index.flush()

    def _upsert_images(self, images: Sequence[tuple[BaseNode, str | bytes]]) -> None:
        nodes = [node for node, _ in images]
        self._rag.items.upsert_images(
            [image for _, image in images],
            captions=[node.get_content() for node in nodes],
            ids=[node.node_id for node in nodes],
            metadatas=[node_to_metadata(node) for node in nodes],
            vectors=self._vectors(nodes, "image"),
        )

    def _upsert_texts(self, nodes: Sequence[BaseNode]) -> None:
        self._rag.items.upsert_texts(
            [node.get_content() for node in nodes],
            ids=[node.node_id for node in nodes],
            metadatas=[node_to_metadata(node) for node in nodes],
            vectors=self._vectors(nodes, "text"),
        )

    def _vectors(self, nodes: Sequence[BaseNode], of: Modality) -> dict[str, list[float]]:
        """Return the vectors of the nodes that this index would also compute."""
        brought = {node.node_id: node.embedding for node in nodes if node.embedding}
        return {id: vector for id, vector in brought.items() if self._embed_model.modality_of(vector) == of}

    def _hits(self, query: VectorStoreQuery, filter: str | None, mmr_threshold: float = 0.5) -> list[Hit]:
        k = query.similarity_top_k
        match query.mode:
            case VectorStoreQueryMode.DEFAULT:
                return self._rag.retriever.search_by_vector(_vector(query), k, filter=filter)
            case VectorStoreQueryMode.SPARSE | VectorStoreQueryMode.TEXT_SEARCH:
                return self._rag.index.search_bm25(_text(query), query.sparse_top_k or k, filter=filter)
            case VectorStoreQueryMode.HYBRID:
                return self._rag.search(_text(query), k=query.hybrid_top_k or k, filter=filter, group=False)
            case VectorStoreQueryMode.MMR:
                relevance = query.mmr_threshold if query.mmr_threshold is not None else mmr_threshold
                return self._rag.retriever.search_mmr(
                    _vector(query), k, fetch_k=_MMR_DEPTH * k, relevance=relevance, filter=filter
                )
        raise InputError(
            f"the query mode {query.mode.value!r} is not supported; use default, sparse, text_search, hybrid or mmr"
        )

    def _find(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[Hit]:
        if node_ids is not None and not node_ids:
            return []
        restriction = all_of([one_of("id", node_ids) if node_ids else "", filters_to_expression(filters)])
        place = {id: i for i, id in enumerate(node_ids or ())}
        return sorted(self._rag.index.find(filter=restriction or None), key=lambda hit: (place.get(hit.id, 0), hit.id))

    def _node(self, hit: Hit) -> BaseNode:
        if not hit.is_item:
            return hit_to_node(hit, self._frame(hit)).node
        has_path = NODE in hit.metadata and "image_path" in hit.metadata[NODE]["fields"]
        return hit_to_own_node(hit, None if has_path else self._frame(hit))

    def _frame(self, hit: Hit) -> Frame | None:
        if not self.images or hit.kind == "text":
            return None
        try:
            frames = self._rag.frames(hit)
        except InputError:
            return None
        return middle_frame(frames) if frames else None


def _vector(query: VectorStoreQuery) -> list[float]:
    if query.query_embedding is None:
        raise InputError("the query has no embedding; give the index the embed_model of this store")
    return query.query_embedding


def _text(query: VectorStoreQuery) -> str:
    if not (query.query_str or "").strip():
        raise InputError(f"a query of the mode {query.mode.value!r} needs a text; query_str is {query.query_str!r}")
    return str(query.query_str)


def _restriction(query: VectorStoreQuery) -> str:
    documents = query.doc_ids and any_of(
        [one_of(f"metadata.{NODE}.ref_doc_id", query.doc_ids), one_of("source", query.doc_ids)]
    )
    ids = query.node_ids and one_of("id", query.node_ids)
    return all_of([documents or "", ids or "", filters_to_expression(query.filters)])
