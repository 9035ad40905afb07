"""A LlamaIndex vector store over an index of florence_rag: nodes with texts and images, next to indexed files."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
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

from florence_rag import FlorenceRAG, InputError, MediaError
from florence_rag.async_methods import in_thread
from florence_rag.batching import batched
from florence_rag.text_arguments import check_query_text
from florence_rag.types import Hit
from florence_rag.validation import validate_arguments
from llama_index_florence._convert import (
    file_part,
    hit_to_node,
    item_to_node,
    load_frame,
    node_to_chunk,
    node_to_image,
    repeats_image,
)
from llama_index_florence.embedding import FlorenceEmbedding
from llama_index_florence.filters import NODE, Filter, to_filter

_CANDIDATES_PER_HIT = 4
"""The number of nodes from which MMR selects one."""
_IDS_PER_FILTER = 1_000


@validate_arguments
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
        """Store nodes, replacing those with the same ids; return their ids.

        Raises:
            BatchError: If nodes cannot be stored. All others are stored; the error has their ids.
        """
        nodes = [node for node in nodes if not repeats_image(node)]
        vectors = {node.node_id: node.embedding for node in nodes if node.embedding and self._is_usable(node)}
        chunks = map(partial(node_to_chunk, images=self._rag.context.images), nodes)
        return self._rag.items.upsert_chunks(chunks, vectors)

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete the nodes of a document. Chunks of files stay; `FlorenceRAG.add(..., prune=True)` deletes them."""
        hits = self._rag.index.find(filter={f"metadata.{NODE}.ref_doc_id": ref_doc_id})
        self._rag.items.delete([hit.id for hit in hits])

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any) -> None:
        """Delete nodes by id, by filter, or by both.

        Raises:
            InputError: If neither is given; use `clear` to delete all nodes.
        """
        if node_ids is None and filters is None:
            raise InputError("neither node_ids nor filters were given; clear() deletes all nodes")
        self._rag.items.delete([hit.id for hit in self._find(node_ids, filters)])

    def clear(self) -> None:
        """Delete all nodes; chunks of files stay."""
        self._rag.items.delete(self._rag.items.ids())

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the matching nodes in the order of the ids; without ids, all matching nodes, sorted by id."""
        return [self._node(hit) for hit in self._find(node_ids, filters)]

    def query(self, query: VectorStoreQuery, **options: Any) -> VectorStoreQueryResult:
        """Return the best nodes first; similarities are comparable within one query, or are relevance if known."""
        hits = self._search(query, _restriction(query), **options)
        return VectorStoreQueryResult(
            nodes=[self._node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.id for hit in hits],
        )

    async_add = in_thread(add)
    adelete = in_thread(delete)
    adelete_nodes = in_thread(delete_nodes)
    aclear = in_thread(clear)
    aget_nodes = in_thread(get_nodes)
    aquery = in_thread(query)

    def persist(self, persist_path: str = "", fs: Any = None) -> None:
        """Flush the index; persist_path is ignored, because the database is stored elsewhere."""
        self._rag.index.flush()

    def _is_usable(self, node: BaseNode) -> bool:
        """Return whether this index would compute the same vector as the node carries."""
        try:
            modality = "image" if node_to_image(node) else "text"
        except MediaError:  # which is raised again when the node is stored
            return False
        return not file_part(node) and self._embed_model.modality_of(node.get_embedding()) == modality

    def _search(self, query: VectorStoreQuery, filter: Filter, mmr_threshold: float = 0.5) -> list[Hit]:
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
                    _vector(query), k, fetch_k=_CANDIDATES_PER_HIT * k, relevance=relevance, filter=filter
                )
        raise InputError(
            f"the query mode {query.mode.value!r} is not supported; use default, sparse, text_search, hybrid or mmr"
        )

    def _find(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[Hit]:
        if node_ids is not None and not node_ids:
            return []
        place = {id: i for i, id in enumerate(node_ids or ())}
        ids = [{"chunk.id": some} for some in batched(place, _IDS_PER_FILTER)] or [{}]
        hits = chain.from_iterable(self._rag.index.find(filter={"$and": [some, to_filter(filters)]}) for some in ids)
        return sorted(hits, key=lambda hit: (place.get(hit.id, 0), hit.id))

    def _node(self, hit: Hit) -> BaseNode:
        has_path = hit.is_item and NODE in hit.metadata and "image_path" in hit.metadata[NODE]["fields"]
        frame = load_frame(self._rag, hit) if self.images and not has_path else None
        return item_to_node(hit, frame) if hit.is_item else hit_to_node(hit, frame)


def _vector(query: VectorStoreQuery) -> list[float]:
    if query.query_embedding is None:
        raise InputError("the query has no embedding; give the index the embed_model of this store")
    return query.query_embedding


def _text(query: VectorStoreQuery) -> str:
    if query.query_str is None:
        raise InputError(f"a query of the mode {query.mode.value!r} needs a text; give query_str")
    return check_query_text(query.query_str)


def _restriction(query: VectorStoreQuery) -> Filter:
    names = [f"metadata.{NODE}.ref_doc_id", "source"] if query.doc_ids else []
    documents = {"$or": [{name: {"$in": query.doc_ids}} for name in names]} if names else {}
    ids = {"chunk.id": {"$in": query.node_ids}} if query.node_ids else {}
    return {"$and": [documents, ids, to_filter(query.filters)]}
