"""A LlamaIndex reader for images, videos, PDFs and texts, chunked as the index chunks them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_index.core.bridge.pydantic import Field
from llama_index.core.readers.base import BasePydanticReader
from llama_index.core.schema import Document, ImageDocument

from florence_rag import InputError
from florence_rag.chunking import ChunkingConfig, chunk_paths
from florence_rag.tools import chunk_to_metadata
from florence_rag.types import middle_frame
from florence_rag.validation import validate_arguments
from llama_index_florence._convert import chunk_to_text, hidden_metadata, image_fields


@validate_arguments
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
        for chunk in chunk_paths(paths, self.chunking, strict=self.strict):
            fields: dict[str, Any] = {"id_": chunk.id, "text": chunk_to_text(chunk)}
            fields |= hidden_metadata({**(extra_info or {}), **chunk_to_metadata(chunk)})
            if self.images and chunk.frames:
                yield ImageDocument(**fields, **image_fields(middle_frame(chunk.frames)))
            else:
                yield Document(**fields)
