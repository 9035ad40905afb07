"""A LlamaIndex reader for images, videos, PDFs and texts, chunked as the index chunks them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.schema import Document, ImageDocument

from florence_rag import InputError, MediaError
from florence_rag.chunking import ChunkingConfig, chunk
from florence_rag.sources import discover
from florence_rag.types import ITEM_IMAGE, Chunk, Failure, middle_frame
from llama_index_florence._convert import frame_to_base64
from llama_index_florence._items import chunk_to_text

log = logging.getLogger(__name__)


class FlorenceReader(BasePydanticReader):
    """Reads files and folders as documents: one per image, page, video clip or passage.

        documents = FlorenceReader().load_data("photos/", "talk.mp4")
        SimpleDirectoryReader("photos/", file_extractor={".mp4": FlorenceReader()})

    An ImageDocument holds its image as an upright JPEG (of a clip, the middle keyframe). Ids equal those of the chunks
    in an index, so they do not change as long as the file does not. A FlorenceVectorStore finds the file by the
    metadata. OCR is left to the store.
    """

    chunking: ChunkingConfig = Field(default_factory=ChunkingConfig, description="How files are chunked.")
    images: bool = Field(default=True, description="Whether documents hold their images.")
    strict: bool = Field(
        default=False,
        description="Whether a file that cannot be read raises MediaError; the default is a warning.",
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serializes this class."""
        return "FlorenceReader"

    def lazy_load_data(self, *paths: str | Path, extra_info: dict[str, Any] | None = None) -> Iterator[Document]:
        """Yield the documents one by one; at most one clip or page of a file is in memory.

        Args:
            *paths: Files and folders.
            extra_info: Further metadata of each document.

        Raises:
            InputError: If no path is given, or a path does not exist.
        """
        if not paths:
            raise InputError("there is nothing to read; give files or folders")
        for source in discover(paths):
            try:
                if isinstance(source, Failure):
                    raise MediaError(f"{source.source!r}: {source.reason}")
                for each in chunk(source, self.chunking):
                    yield self._document(each, extra_info or {})
            except MediaError as error:
                if self.strict:
                    raise
                log.warning("skipped: %s", error)

    def _document(self, chunk: Chunk, extra: dict[str, Any]) -> Document:
        ours = {
            "source": chunk.source.uri,
            "kind": chunk.kind,
            "locator": chunk.locator.to_dict(),
            ITEM_IMAGE: {"file": chunk.source.uri, "hash": chunk.source.content_hash},
        }
        metadata = {**extra, **chunk.metadata, **ours}
        fields: dict[str, Any] = {
            "id_": chunk.id,
            "metadata": metadata,
            "excluded_llm_metadata_keys": list(metadata),
            "excluded_embed_metadata_keys": list(metadata),
        }
        frame = middle_frame(chunk.frames) if self.images and chunk.frames else None
        if frame is None:
            return Document(text=chunk_to_text(chunk), **fields)
        return ImageDocument(
            text=chunk_to_text(chunk), image=frame_to_base64(frame), image_mimetype="image/jpeg", **fields
        )
