"""A LlamaIndex reader: pictures, videos, PDFs and texts, cut into documents as an index run cuts them."""

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
    """Files and folders as documents: one for an image, a page, a clip of a video, a passage of a text.

        documents = FlorenceReader().load_data("photos/", "talk.mp4")
        SimpleDirectoryReader("photos/", file_extractor={".mp4": FlorenceReader()})

    An ImageDocument holds its picture upright as JPEG, a clip its middle keyframe. Ids are those that an index gives
    the same chunks, so they stay as long as a file does; by the metadata a FlorenceVectorStore finds the
    file itself. Words that a model would have to read in a picture are left to the store.
    """

    chunking: ChunkingConfig = Field(default_factory=ChunkingConfig, description="How files are cut.")
    images: bool = Field(default=True, description="Whether documents hold their pictures.")
    strict: bool = Field(
        default=False, description="Whether a file that cannot be read raises MediaError; else a warning names it."
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "FlorenceReader"

    def lazy_load_data(self, *paths: str | Path, extra_info: dict[str, Any] | None = None) -> Iterator[Document]:
        """The documents, one by one: never more of a file is in memory than a clip or a page.

        extra_info: further metadata of each. A path that does not exist is an InputError.
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
                log.warning("left out: %s", error)

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
