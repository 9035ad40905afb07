"""A LangChain retriever over an index of images, clips, pages and passages."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Self, get_args

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables.config import run_in_executor
from pydantic import ConfigDict, Field

from florence_rag import FlorenceRAG, InputError
from florence_rag.retrieval.query import Query, QueryPart, to_query
from florence_rag.tools import hit_to_metadata, hit_to_text
from florence_rag.types import Hit, Kind, middle_frame
from florence_rag.untrusted_text import Fence
from florence_rag.validation import validate_arguments
from florence_rag.viz.thumbnails import thumbnail
from langchain_florence.images import block_to_image, jpeg_to_block

SearchType = Literal["hybrid", "similarity", "mmr"]

IMAGES = "images"
"""The metadata key of a document's images, if they were requested."""


@validate_arguments
class FlorenceRetriever(BaseRetriever):
    """Retrieves documents by text, image or both.

    Every attribute can also be passed to one call:

        retriever = FlorenceRetriever(rag, k=5, kinds={"image"})
        retriever.invoke("a red bus", k=3)
        retriever.invoke("", image="query.jpg")          # a path, data URI, content block, ...; with or without text
        retriever.invoke("at night", parts=[QueryPart(id=...), QueryPart("cars", weight=-1)])
        await retriever.ainvoke("a red bus", filter={"city": "Rome"}, search_type="mmr")

    Attributes:
        rag: The index.
        k: The number of documents, at least 1.
        kinds: The kinds of chunks to search; None for all.
        filter: A mapping of conditions, or a Milvus expression.
        parts: Further parts of every query: texts, images, regions and ids, also with negative weights.
        group: Whether to return one document per video, with its other clips in metadata["grouped_hits"]; only for
            "hybrid".
        search_type: "hybrid" searches by visual similarity and terms, as `FlorenceRAG.search` does; "similarity" ranks
            by cosine; "mmr" selects k diverse documents among the fetch_k nearest.
        min_relevance: The smallest relevance of a document, in [0, 1]; only for "hybrid". With one, a matcher judges
            the images of documents, if the models have one.
        fetch_k: The number of candidates for "mmr", at least 1.
        lambda_mult: The weight of relevance for "mmr", from 0 (most diverse) to 1 (nearest).
        images: Whether each document carries its image (of a clip, the middle keyframe) as a standard content block in
            metadata["images"]; `documents_to_content` passes them to a chat model.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    rag: FlorenceRAG = Field(exclude=True, repr=False)
    k: int = Field(default=5, ge=1)
    kinds: frozenset[Kind] | None = None
    filter: str | dict[str, Any] | None = None
    parts: Sequence[QueryPart | str] = ()
    group: bool = False
    search_type: SearchType = "hybrid"
    min_relevance: float | None = Field(default=None, ge=0, le=1)
    fetch_k: int = Field(default=20, ge=1)
    lambda_mult: float = Field(default=0.5, ge=0, le=1)
    images: bool = False

    def __init__(self, rag: FlorenceRAG, **settings: Any) -> None:
        super().__init__(**{"rag": rag, **settings})

    @classmethod
    def from_db(cls, db: str, model: str | None = None, **settings: Any) -> Self:
        """Open a retriever over an existing database, such as `from_db("photos.db", k=3)`.

        Close the database with `retriever.rag.close()`.
        """
        return cls(FlorenceRAG.open(db, model, create=False), **settings)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, image: Any = None, **settings: Any
    ) -> list[Document]:
        if unknown := settings.keys() - type(self).model_fields.keys():
            raise TypeError(f"FlorenceRetriever has no setting {', '.join(sorted(unknown))}")
        if not isinstance(query, str):
            raise InputError(f"the query is {query!r:.80}; it must be a text")
        used = self.model_copy(update={name: value for name, value in settings.items() if value is not None})
        text = None if query == "" and (image is not None or used.parts) else query
        request = to_query(text, block_to_image(image), parts=used.parts)
        return [used._document(hit) for hit in used._search(request)]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **settings: Any
    ) -> list[Document]:
        sync_manager = run_manager.get_sync()
        return await run_in_executor(None, self._get_relevant_documents, query, run_manager=sync_manager, **settings)

    def _search(self, query: Query) -> list[Hit]:
        scope: dict[str, Any] = {"k": self.k, "kinds": self.kinds, "filter": self.filter}
        if self.search_type == "hybrid":
            return self.rag.search(query, group=self.group, min_relevance=self.min_relevance, **scope)
        if self.search_type not in get_args(SearchType):
            raise InputError(f"search_type is {self.search_type!r}; it must be 'hybrid', 'similarity' or 'mmr'")
        for name, value in (("group", self.group or None), ("min_relevance", self.min_relevance)):
            if value is not None:
                raise InputError(f"{name} is for search_type 'hybrid', not for {self.search_type!r}")
        vector = self.rag.retriever.embed_query(query)
        if self.search_type == "mmr":
            return self.rag.retriever.search_mmr(vector, fetch_k=self.fetch_k, relevance=self.lambda_mult, **scope)
        return self.rag.retriever.search_by_vector(vector, **scope)

    def _document(self, hit: Hit) -> Document:
        document = hit_to_document(hit)
        if self.images:
            frames = self.rag.frames(hit)
            document.metadata[IMAGES] = [jpeg_to_block(thumbnail(middle_frame(frames), side_px=1024))] if frames else []
        return document


@validate_arguments
def hit_to_document(hit: Hit) -> Document:
    """Return a document with the text of the hit, and id, source, kind, locator, score and explanation as metadata."""
    return Document(id=hit.id, page_content=hit_to_text(hit), metadata=hit_to_metadata(hit))


@validate_arguments
def documents_to_content(documents: Iterable[Document]) -> list[dict[str, Any]]:
    """Return content blocks for a message to a multimodal chat model: number, text and images of each document.

    The texts stand in a fence, and the first block begins with what it means: documents may hold a stranger's text.
    """
    fence = Fence()
    blocks: list[dict[str, Any]] = []
    for number, document in enumerate(documents, start=1):
        rule = f"{fence.rule}\n" if number == 1 else ""
        blocks.append({"type": "text", "text": f"{rule}[{number}]\n{fence.wrap(document.page_content)}"})
        blocks += document.metadata.get(IMAGES, ())
    return blocks
