"""Hits and chunks as LangChain documents and back, and the arguments of our tools as a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from langchain_core.documents import Document
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, create_model

from florence_rag.ingest.items import text_to_chunk
from florence_rag.tools import Tool, hit_to_metadata, hit_to_text
from florence_rag.tools.formatting import place_to_text
from florence_rag.types import ITEM_IMAGE, MEDIA_OF_KIND, Chunk, Hit, Locator, Source

_OF_FILES = frozenset({"source", "kind", "start_s", "end_s"})
"""Fields to filter by that are no metadata."""


def hit_to_document(hit: Hit) -> Document:
    """page_content: words for a model. metadata: id, source, kind, locator, score, why, and the file's own."""
    return Document(id=hit.id, page_content=hit_to_text(hit), metadata=hit_to_metadata(hit))


def stored_to_document(hit: Hit) -> Document:
    """What was put under an id as it was put; of a picture with what it takes to find it again; of a file as found."""
    if not hit.is_item:
        return hit_to_document(hit)
    where = {} if hit.kind == "text" else {"kind": hit.kind, "locator": hit.locator.to_dict()}
    words = hit.content or ("" if hit.kind == "text" else place_to_text(hit))
    return Document(id=hit.id, page_content=words, metadata={**hit.metadata, **where})


def chunk_to_document(chunk: Chunk) -> Document:
    """A part of a file. metadata: source, kind, locator, and in "given" the file and its hash."""
    ours = {
        "source": chunk.source.uri,
        "kind": chunk.kind,
        "locator": chunk.locator.to_dict(),
        ITEM_IMAGE: {"file": chunk.source.uri, "hash": chunk.source.content_hash},
    }
    return Document(id=chunk.id, page_content=chunk.text, metadata={**chunk.metadata, **ours})


def document_to_chunk(document: Document, id: str | None) -> Chunk:
    """The part of a file that chunk_to_document told of, or a text. id: by default the document's, or from it."""
    id, metadata = id or document.id, document.metadata
    where: Any = metadata.get(ITEM_IMAGE)
    kind: Any = metadata.get("kind")
    if not isinstance(where, Mapping) or kind not in MEDIA_OF_KIND:
        return text_to_chunk(document.page_content, id, metadata)
    source = Source(where["file"], MEDIA_OF_KIND[kind], 0, 0, where["hash"])
    locator = Locator.from_dict(metadata["locator"])
    return Chunk(source, kind, locator, document.page_content, metadata=metadata, custom_id=id or "")


def filter_to_core(filter: str | Mapping[str, Any] | None) -> str | Mapping[str, Any] | None:
    """Plain keys are those of documents' metadata, as everywhere in LangChain."""
    if not isinstance(filter, Mapping):
        return filter
    return {_field(key): condition for key, condition in filter.items()}


def _field(key: Any) -> str:
    return str(key) if key in _OF_FILES or str(key).startswith("metadata.") else f"metadata.{key}"


def tool_to_args_schema(tool: Tool) -> type[BaseModel]:
    """The tool's own JSON schema; values pass as they come, for the tool itself checks them and explains."""
    parameters = tool.parameters
    fields: dict[str, Any] = {}
    for name, schema in parameters["properties"].items():
        default = ... if name in parameters["required"] else schema.get("default")
        fields[name] = (Annotated[Any, WithJsonSchema(schema)], Field(default, description=schema["description"]))
    return create_model(tool.name, __config__=ConfigDict(extra="forbid"), **fields)


def validation_error_to_text(error: Any) -> str:
    """One line for the model: which argument is missing or unknown."""
    problems = (f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
    return f"{error.title} failed: {'; '.join(problems)}"
