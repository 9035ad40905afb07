"""Converts hits and chunks to LangChain documents and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.documents import Document

from florence_rag.ingest.items import text_to_chunk
from florence_rag.tools import hit_to_metadata, hit_to_text
from florence_rag.tools.formatting import place_to_text
from florence_rag.types import ITEM_IMAGE, MEDIA_OF_KIND, Chunk, Hit, Locator, Source

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
    ours = {
        "source": chunk.source.uri,
        "kind": chunk.kind,
        "locator": chunk.locator.to_dict(),
        ITEM_IMAGE: {"file": chunk.source.uri, "hash": chunk.source.content_hash},
    }
    return Document(id=chunk.id, page_content=chunk.text, metadata={**chunk.metadata, **ours})


def document_to_chunk(document: Document, id: str | None) -> Chunk:
    """Return the part of a file that `chunk_to_document` described, or a text chunk. `id` replaces the document's."""
    id, metadata = id or document.id, document.metadata
    file: Any = metadata.get(ITEM_IMAGE)
    kind: Any = metadata.get("kind")
    if not isinstance(file, Mapping) or kind not in MEDIA_OF_KIND:
        return text_to_chunk(document.page_content, id, metadata)
    source = Source(file["file"], MEDIA_OF_KIND[kind], 0, 0, file["hash"])
    locator = Locator.from_dict(metadata["locator"])
    return Chunk(source, kind, locator, document.page_content, metadata=metadata, custom_id=id or "")


def filter_to_core(filter: str | Mapping[str, Any] | None) -> str | Mapping[str, Any] | None:
    """Treat plain keys as keys of documents' metadata, as LangChain does everywhere."""
    if not isinstance(filter, Mapping):
        return filter
    return {_field(key): condition for key, condition in filter.items()}


def _field(key: Any) -> str:
    return str(key) if key in _INDEX_FIELDS or str(key).startswith("metadata.") else f"metadata.{key}"


def validation_error_to_text(error: Any) -> str:
    """Return one line that names the missing or unknown argument."""
    problems = (f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())
    return f"{error.title} failed: {'; '.join(problems)}"
