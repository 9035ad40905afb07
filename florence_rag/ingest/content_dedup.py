"""Recognizes files by their bytes: a file that was moved or copied is neither read nor embedded again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from florence_rag.embedding.base import TextEmbedder
from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.embed_stage import EmbeddedBatch, embed_chunk_texts
from florence_rag.types import Chunk, Media, Source


def content_of(source: Source) -> tuple[Media, str]:
    """Return a key that is equal for sources whose chunks differ in nothing but the uri."""
    return source.media, source.content_hash


def split_duplicates(sources: Iterable[Source], indexed: Iterable[Source]) -> tuple[list[Source], list[Source]]:
    """Return the sources with new content, and those that duplicate an indexed source or an earlier one of these."""
    seen = {content_of(source) for source in indexed}
    new: list[Source] = []
    duplicates: list[Source] = []
    for source in sources:
        (duplicates if content_of(source) in seen else new).append(source)
        seen.add(content_of(source))
    return new, duplicates


class DuplicateResolver:
    """Makes the rows of duplicates from the rows of their originals.

    Args:
        index: Holds the originals.
        text_embedder: Embeds the texts again, which is cheap compared to images; None if the index has no such vectors.
        exclude: The uris of sources that are no originals, because they are about to be replaced.
    """

    def __init__(self, index: ChunkIndex, text_embedder: TextEmbedder | None, exclude: Collection[str]) -> None:
        originals = (source for source in index.sources().values() if source.uri not in exclude)
        self._index = index
        self._text_embedder = text_embedder
        self._originals = {content_of(source): source for source in originals}

    def original(self, source: Source) -> Source | None:
        """Return the indexed source with the same bytes, if there is one."""
        return self._originals.get(content_of(source))

    def chunks(self, source: Source) -> Iterator[Chunk]:
        """Yield the chunks of the original as chunks of the duplicate, without frames."""
        original = self._originals[content_of(source)]
        for hit in self._index.find(filter={"source": original.uri}):
            yield Chunk(source, hit.kind, hit.locator, hit.text, hit.caption, hit.ocr, metadata=hit.metadata)

    def embed(self, chunks: list[Chunk]) -> EmbeddedBatch:
        """Return chunks of duplicates with the stored vectors of their originals."""
        ids = [replace(chunk, source=self._originals[content_of(chunk.source)]).id for chunk in chunks]
        text_vectors = embed_chunk_texts(self._text_embedder, chunks) if self._text_embedder else None
        return EmbeddedBatch(chunks, self._index.vectors(ids), text_vectors)
