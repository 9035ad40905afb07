"""A LlamaIndex node postprocessor that scores the images of nodes together with the query."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, NodeWithScore, QueryBundle

from florence_rag import FlorenceRAG, InputError, MediaError
from florence_rag.chunking import read_image
from florence_rag.loading.loaders import RERANKER
from florence_rag.loading.model_loader import load_model
from florence_rag.perception.base import Matcher, MatcherReranker, Reranker
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.retrieval.query import to_query
from florence_rag.retrieval.reranking import rerank
from florence_rag.types import Frame, Hit, Locator
from florence_rag.validation import validate_arguments
from llama_index_florence._convert import node_to_image

_DEFAULT = RetrievalConfig()


@validate_arguments
class FlorenceRerank(BaseNodePostprocessor):
    """Reranks the best nodes by a model that sees their images, METER's matching head or any other.

        FlorenceRerank(rag=rag, top_n=3)             # the reranker of an open index, or its matcher
        FlorenceRerank("florence-tiny")              # a model by its name or folder
        FlorenceRerank(reranker=my_reranker)         # any Reranker or Matcher of florence_rag

    With `rag`, the files are read again, and all keyframes of a clip; otherwise, or if a file is gone, the image of the
    node is used. A node whose image cannot be read keeps its position, and so does a text if the model reads none. The
    scores stay in descending order, and metadata["explanation"] holds the result of the model. A query without text
    changes nothing.

    Args:
        model_name: The name or folder of a model, if neither `rag` nor `reranker` is given.
        rag: An open index, whose reranker is used, or, if it has none, its matcher.
        reranker: Any Reranker or Matcher of florence_rag.
        **settings: The fields of this class.
    """

    top_n: int = Field(default=5, ge=1, description="The number of nodes that are returned.")
    depth: int = Field(default=_DEFAULT.rerank_depth, ge=1, description="The number of nodes that are scored.")
    weight: float = Field(
        default=_DEFAULT.rerank_weight, gt=0, le=1, description="The weight of the model's score, in (0, 1]."
    )
    model_name: str = Field(default="", description="The name of the model, if one was given.")

    _reranker: Reranker = PrivateAttr()
    _rag: FlorenceRAG | None = PrivateAttr(default=None)

    def __init__(
        self,
        model_name: str = "",
        *,
        rag: FlorenceRAG | None = None,
        reranker: Reranker | Matcher | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**{**settings, "model_name": model_name})
        model = reranker or (load_model(RERANKER, model_name) if model_name else None)
        if rag and model is None:
            model = rag.models.reranker or (rag.models.matcher.get() if rag.models.matcher else None)
        if model is None:
            raise InputError(
                "there is no model to rerank with; open the index with reranker='florence-tiny', name a model, or pass "
                "reranker=..."
            )
        self._reranker = model if isinstance(model, Reranker) else MatcherReranker(model)
        self._rag = rag

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serializes this class."""
        return "FlorenceRerank"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InputError("there is no query to rerank by; give query_str or query_bundle")
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model_name,
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload) as event:
            ranked = self._ranked(nodes, query_bundle)[: self.top_n]
            event.on_end({EventPayload.NODES: ranked})
        return ranked

    def _ranked(self, nodes: list[NodeWithScore], query: QueryBundle) -> list[NodeWithScore]:
        text = query.query_str.strip()
        if not text:
            return nodes
        # The hits of nodes that are in the index may have more frames than the nodes carry.
        ids = [found.node_id for found in nodes[: self.depth]]
        stored = {hit.id: hit for hit in self._rag.get(ids)} if self._rag else {}
        hits = [_hit(place, found, stored.get(found.node_id)) for place, found in enumerate(nodes)]
        order = rerank(
            self._reranker,
            hits,
            to_query(text, query.image_path),
            weight=self.weight,
            depth=self.depth,
            load_frames=lambda hit: self._frames(nodes[int(hit.id)].node, stored),
        )
        return [
            _moved(nodes[int(hit.id)], place.score, hit.explanation) for hit, place in zip(order, nodes, strict=True)
        ]

    def _frames(self, node: BaseNode, stored: Mapping[str, Hit]) -> Sequence[Frame]:
        carried = node_to_image(node)
        if self._rag and node.node_id in stored:
            try:
                return self._rag.frames(stored[node.node_id])
            except MediaError:
                if carried is None:
                    raise
        try:
            return () if carried is None else (read_image(carried),)
        except InputError as error:  # a URL, which is not fetched, counts as a missing file
            raise MediaError(str(error)) from error


def _hit(place: int, found: NodeWithScore, stored: Hit | None) -> Hit:
    """Return the node as a hit; its id is the position of the node."""
    hit = stored or Hit("", "image", found.node_id, Locator(), 0.0, found.get_content())
    return replace(
        hit, id=str(place), score=max(found.score or 0.0, 0.0), explanation=found.metadata.get("explanation", "")
    )


def _moved(found: NodeWithScore, score: float | None, explanation: str) -> NodeWithScore:
    """Return the node with the score of its new position, and the explanation in metadata hidden from the model."""
    node = found.node.model_copy()
    changed = {"explanation": explanation, **({"score": score} if "score" in node.metadata else {})}
    node.metadata = {**node.metadata, **changed}
    for keys in ("excluded_llm_metadata_keys", "excluded_embed_metadata_keys"):
        setattr(node, keys, list(dict.fromkeys([*getattr(node, keys), *changed])))
    return NodeWithScore(node=node, score=score)
