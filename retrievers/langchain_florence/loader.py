"""A LangChain document loader: pictures, videos, PDFs and texts, cut as an index run cuts them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from langchain_core.document_loaders import BaseLoader
from langchain_core.documents import Document

from florence_rag import ChunkingConfig, InputError, MediaError
from florence_rag.chunking import chunk
from florence_rag.sources import discover
from florence_rag.types import Failure
from langchain_florence._convert import chunk_to_document

log = logging.getLogger(__name__)


class FlorenceLoader(BaseLoader):
    """Files and folders as documents: one for an image, a page, a clip of a video, a passage of a text.

        loader = FlorenceLoader("photos/", "talk.mp4")
        index(loader, record_manager, store, cleanup="scoped_full", source_id_key="source", key_encoder="blake2b")

    A FlorenceVectorStore reads the pictures of a document again from its file and embeds these. page_content is the
    passage, the text of the page or the transcript; metadata have source, kind, locator and what the file says of
    itself. Ids and metadata stay the same as long as the file does.
    strict: a file that cannot be read raises MediaError; else a warning names it, and the others are loaded.
    """

    def __init__(self, *paths: str | Path, chunking: ChunkingConfig | None = None, strict: bool = False) -> None:
        if not paths:
            raise InputError("there is nothing to load; give files or folders")
        self.paths = paths
        self.chunking = chunking or ChunkingConfig()
        self.strict = strict

    def lazy_load(self) -> Iterator[Document]:
        """The documents, one by one: never more of a file is in memory than a clip or a page."""
        for source in discover(self.paths):
            try:
                if isinstance(source, Failure):
                    raise MediaError(f"{source.source!r}: {source.reason}")
                yield from map(chunk_to_document, chunk(source, self.chunking))
            except MediaError as error:
                if self.strict:
                    raise
                log.warning("left out: %s", error)
