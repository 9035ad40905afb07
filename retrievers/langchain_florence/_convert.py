"""Converts hits and chunks to LangChain documents, and LangChain's filters to those of florence_rag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document

from florence_rag.tools import chunk_to_metadata, hit_to_metadata, hit_to_text, place_to_text
from florence_rag.types import Chunk, Hit

_INDEX_FIELDS = frozenset({"source", "kind", "start_s", "end_s"})
"""Fields of a filter that are not metadata."""


def hit_to_document(hit: Hit) -> Document:
    """Return a document with the text of the hit, and id, source, kind, locator, score and explanation as metadata."""
    return Document(id=hit.id, page_content=hit_to_text(hit), metadata=hit_to_metadata(hit))


def stored_to_document(hit: Hit) -> Document:
    """Return an item as it was added, with kind and locator for an image; return a chunk of a file as a hit."""
    if not hit.is_item:
        return hit_to_document(hit)
    location = {} if hit.kind == "text" else {"kind": hit.kind, "locator": hit.locator.to_dict()}
    text = hit.content or ("" if hit.kind == "text" else place_to_text(hit))
    return Document(id=hit.id, page_content=text, metadata={**hit.metadata, **location})


def chunk_to_document(chunk: Chunk) -> Document:
    """Return a part of a file, with source, kind, locator, and the file and its hash as metadata."""
    return Document(id=chunk.id, page_content=chunk.text, metadata=chunk_to_metadata(chunk))


def filter_to_core(filter: str | Mapping[str, Any] | None) -> str | Mapping[str, Any] | None:
    """Treat plain keys as keys of documents' metadata, as LangChain does everywhere."""
    if not isinstance(filter, Mapping):
        return filter
    is_field = {key: key in _INDEX_FIELDS or str(key).startswith("metadata.") for key in filter}
    return {str(key) if is_field[key] else f"metadata.{key}": condition for key, condition in filter.items()}
