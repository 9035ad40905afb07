"""A LangChain document loader for images, videos, PDFs and texts, chunked as the index chunks them."""

from collections.abc import Iterator
from pathlib import Path

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from florence_rag import ChunkingConfig, InputError
from florence_rag.chunking import chunk_paths
from florence_rag.tools import chunk_to_metadata
from florence_rag.validation import validate_arguments


@validate_arguments
class FlorenceLoader(BaseLoader):
    """Loads files and folders as documents: one per image, page, video clip or passage.

        loader = FlorenceLoader("photos/", "talk.mp4")
        index(loader, record_manager, store, cleanup="scoped_full", source_id_key="source", key_encoder="blake2b")

    A FlorenceVectorStore embeds the images of such a document, read again from its file. `page_content` is the
    passage, the text of the page or the transcript. The metadata has source, kind, locator, and the metadata of the
    file. Ids and metadata do not change as long as the file does not.

    Args:
        *paths: Files and folders.
        chunking: How files are chunked.
        strict: Whether a file that cannot be read raises MediaError. By default a warning names it, and the other files
            are loaded.

    Raises:
        InputError: If no path is given.
    """

    def __init__(self, *paths: str | Path, chunking: ChunkingConfig | None = None, strict: bool = False) -> None:
        if not paths:
            raise InputError("there is nothing to load; give files or folders")
        self.paths = paths
        self.chunking = chunking or ChunkingConfig()
        self.strict = strict

    def lazy_load(self) -> Iterator[Document]:
        """Yield the documents one by one; at most one clip or page of a file is in memory."""
        for chunk in chunk_paths(self.paths, self.chunking, strict=self.strict):
            yield Document(id=chunk.id, page_content=chunk.text, metadata=chunk_to_metadata(chunk))
