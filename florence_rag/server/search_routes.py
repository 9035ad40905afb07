"""Searches, answers, heat maps, and the tools of agents, as a REST API."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from florence_rag.errors import InputError
from florence_rag.jpeg import to_jpeg
from florence_rag.retrieval.query import Query as SearchQuery
from florence_rag.retrieval.query import QueryPart
from florence_rag.server.media import jpeg_response, require_chunk
from florence_rag.server.service import Service, ServiceDependency
from florence_rag.tools.image_argument import check_image
from florence_rag.tools.limits import MAX_CHARACTERS, MAX_IMAGE_CHARACTERS, MAX_ITEMS, check_arguments
from florence_rag.types import Box, Hit, Kind, middle_frame
from florence_rag.viz.drawing import heat_map

MAX_LIMIT = 100
Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]

router = APIRouter(prefix="/api", tags=["search"])


class Restrictions(BaseModel):
    """Which chunks to consider."""

    model_config = ConfigDict(extra="forbid", title="Restrictions")

    kinds: list[Kind] | None = Field(default=None, max_length=4, description="Only these kinds; all by default.")
    source: Text = Field(default="", description="Only files whose path contains this text, in any case.")
    tags: list[Text] = Field(default=[], max_length=MAX_ITEMS, description="Only chunks with all of these tags.")
    from_s: float | None = Field(default=None, description="Only clips that end after this second of their video.")
    to_s: float | None = Field(default=None, description="Only clips that begin before this second of their video.")
    filter: dict[str, Any] | None = Field(default=None, description='Such as {"city": "Rome", "year": {"$gte": 2020}}.')
    min_relevance: float | None = Field(default=None, ge=0, le=1, description="The least relevance of a hit.")

    def to_filter(self) -> dict[str, Any] | None:
        """Return all conditions as one filter."""
        conditions: list[dict[str, Any]] = [{"tags": {"$contains": tag}} for tag in self.tags]
        if self.filter:
            check_arguments({"filter": self.filter})
            conditions.append(self.filter)
        if self.source:
            conditions.append({"source": {"$icontains": self.source}})
        if self.from_s is not None:
            conditions.append({"end_s": {"$gte": self.from_s}})
        if self.to_s is not None:
            conditions.append({"start_s": {"$lte": self.to_s}})
        return {"$and": conditions} if conditions else None

    @property
    def kind_set(self) -> set[Kind] | None:
        """The kinds for `FlorenceRAG.search`."""
        return set(self.kinds) if self.kinds else None


class SearchRequest(Restrictions):
    """What to search for: a text, an image or an item, or several of them together."""

    text: Text | None = Field(default=None, description="A description.")
    image: str | None = Field(
        default=None, max_length=MAX_IMAGE_CHARACTERS, description="An image as a data URI or base64."
    )
    id: Text | None = Field(default=None, description="The id of an item, to find what is like it.")
    box: Box | None = Field(
        default=None, description="The part of the image or item: left, top, right, bottom in [0, 1]."
    )
    limit: int = Field(default=20, ge=1, le=MAX_LIMIT, description="The number of hits.")

    def to_query(self) -> SearchQuery:
        """Return the query; raise InputError if there is none, or if the image names a file."""
        parts: list[QueryPart | str] = [self.text] if self.text and self.text.strip() else []
        if self.image is not None:
            parts.append(QueryPart(image=image_bytes(self.image), box=self.box))
        if self.id is not None:
            parts.append(QueryPart(id=self.id, box=None if self.image else self.box))
        if self.box and not (self.image or self.id):
            raise InputError("a box is a part of an image: give the image or the id, too")
        return SearchQuery(parts)


class AskRequest(Restrictions):
    """A question about the index, or about one image."""

    question: Text = Field(description="The question.")
    image: str | None = Field(
        None, max_length=MAX_IMAGE_CHARACTERS, description="An image to ask about, as a data URI."
    )
    id: Text | None = Field(default=None, description="The id of an item to ask about.")
    limit: int = Field(default=8, ge=1, le=MAX_LIMIT, description="The number of hits to base the answer on.")


def image_bytes(image: str) -> bytes:
    """Return the bytes of an image that a client sent; raise InputError for the name of a file."""
    found = check_image(image, root=None)
    if not isinstance(found, bytes):
        raise InputError("give the image as a data URI")
    return found


async def _hits(service: Service, request: SearchRequest) -> dict[str, Any]:
    def search() -> list[Hit]:
        return service.rag.search(
            request.to_query(),
            k=request.limit,
            kinds=request.kind_set,
            filter=request.to_filter(),
            min_relevance=request.min_relevance,
        )

    run = service.short if request.min_relevance is None else service.long  # a matcher may be loaded
    return {"hits": [hit.to_dict() for hit in await run(search)]}


@router.get("/search")
async def search_text(
    service: ServiceDependency,
    text: Annotated[str, Query(max_length=MAX_CHARACTERS, description="A description.")],
    kinds: Annotated[list[Kind] | None, Query(description="Only these kinds.")] = None,
    source: Annotated[str, Query(max_length=MAX_CHARACTERS, description="A part of the path.")] = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
    min_relevance: Annotated[float | None, Query(ge=0, le=1)] = None,
) -> dict[str, Any]:
    """Search by a text."""
    request = SearchRequest(text=text, kinds=kinds, source=source, limit=limit, min_relevance=min_relevance)
    return await _hits(service, request)


@router.post("/search")
async def search(service: ServiceDependency, request: SearchRequest) -> dict[str, Any]:
    """Search by a text, an image, a region or an item, or several of them together."""
    return await _hits(service, request)


@router.post("/ask")
async def ask(service: ServiceDependency, request: AskRequest) -> dict[str, Any]:
    """Answer a question, with a confidence and citations."""
    image = image_bytes(request.image) if request.image else request.id

    def answer() -> dict[str, Any]:
        if request.id and not request.image:
            require_chunk(service.rag, request.id)
        found = service.rag.ask(
            request.question,
            image=image,
            k=request.limit,
            kinds=request.kind_set,
            filter=request.to_filter(),
            min_relevance=request.min_relevance,
        )
        return found.to_dict()

    return await service.long(answer)


@router.post("/items/{id}/heat-map", response_class=Response)
async def draw_heat_map(service: ServiceDependency, id: str, request: SearchRequest) -> Response:
    """Return the image of an item as a JPEG, warmer where it shows what was searched for."""

    def draw() -> Response:
        hit = require_chunk(service.rag, id)
        weights: np.ndarray = service.rag.retriever.heat_map(hit, request.to_query())
        return jpeg_response(to_jpeg(heat_map(middle_frame(service.rag.frames(hit)), weights)), hit)

    return await service.long(draw)


@router.get("/tools")
async def list_tools(service: ServiceDependency) -> list[dict[str, Any]]:
    """List the tools: what the models of the index can say of one image, and more."""
    return [
        {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        for tool in service.tools.values()
    ]


@router.post("/tools/{name}")
async def call_tool(
    service: ServiceDependency, name: str, arguments: Annotated[dict[str, Any], Body()]
) -> dict[str, Any]:
    """Call a tool with its arguments; the result is the same that an agent receives."""
    tool = service.tools.get(name)
    if tool is None:
        raise HTTPException(404, f"there is no tool {name!r:.80}; the tools are {', '.join(service.tools)}")
    result = await service.long(lambda: tool(**arguments))
    if result.is_error:
        raise InputError(result.text)
    return {"text": result.text, "result": result.artifact}
