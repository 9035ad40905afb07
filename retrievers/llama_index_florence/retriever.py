"""A LlamaIndex retriever over an index of images, clips, pages and passages."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle

from florence_rag import FlorenceRAG
from florence_rag.async_methods import in_thread
from florence_rag.retrieval.query import QueryPart, to_query
from florence_rag.types import Kind
from florence_rag.validation import validate_arguments
from llama_index_florence._convert import hit_to_node, load_frame


@validate_arguments
class FlorenceRetriever(BaseRetriever):
    """Retrieves nodes by text, image or both.

        retriever = FlorenceRetriever(rag=rag, k=5, kinds={"image"})
        retriever.retrieve("a red bus")
        retriever.retrieve(QueryBundle(query_str="", image_path="query.jpg"))      # with or without text

    Images, pages and clips are returned as ImageNodes that hold their image (of a clip, the middle keyframe). If the
    file is gone, the node is a TextNode. A query vector (QueryBundle.embedding) is ignored, because it may be of
    another model. The score of a node is `Hit.score`; with a fitted calibration that is `Hit.relevance`, so that a
    SimilarityPostprocessor works.

    Args:
        rag: The index.
        k: The number of nodes, at least 1.
        kinds: The kinds of chunks to search; None for all.
        filter: A mapping of conditions, or a Milvus expression.
        parts: Further parts of every query: texts, images, regions and ids, also with negative weights.
        group: Whether the clips of one video are one node.
        min_relevance: The smallest relevance of a node, in [0, 1]. Unlike a SimilarityPostprocessor, it lets a matcher
            judge the images of nodes first, if the models have one.
        images: Whether nodes hold their images; False returns TextNodes only, which is faster.
        **settings: Fields of LlamaIndex's BaseRetriever.
    """

    def __init__(
        self,
        rag: FlorenceRAG,
        k: int = 5,
        *,
        kinds: Collection[Kind] | None = None,
        filter: str | Mapping[str, Any] | None = None,
        parts: Sequence[QueryPart | str] = (),
        group: bool = False,
        images: bool = True,
        min_relevance: float | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.rag = rag
        self.k = k
        self.kinds = kinds
        self.filter = filter
        self.parts = parts
        self.group = group
        self.images = images
        self.min_relevance = min_relevance

    @classmethod
    def from_db(cls, db: str, model: str | None = None, **settings: Any) -> Self:
        """Open a retriever over an existing database, such as `from_db("photos.db", k=3)`.

        Close the database with `retriever.rag.close()`.
        """
        return cls(FlorenceRAG.open(db, model, create=False), **settings)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        text = " ".join(map(str, query_bundle.embedding_strs))
        own = None if not text.strip() and (query_bundle.image_path or self.parts) else text
        hits = self.rag.search(
            to_query(own, query_bundle.image_path, parts=self.parts),
            k=self.k,
            kinds=self.kinds,
            filter=self.filter,
            group=self.group,
            min_relevance=self.min_relevance,
        )
        nodes = (hit_to_node(hit, load_frame(self.rag, hit) if self.images else None) for hit in hits)
        return [NodeWithScore(node=node, score=hit.score) for node, hit in zip(nodes, hits, strict=True)]

    _aretrieve = in_thread(_retrieve)
