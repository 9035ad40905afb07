"""Files with the bytes of a file that is indexed: moved, or copied. Nothing of them is read or embedded again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.embed_stage import EmbeddedBatch, EmbedStage, embed_words
from florence_rag.types import Chunk, Media, Source

Content = tuple[Media, str]


def content_of(source: Source) -> Content:
    """Equal for files whose chunks are equal but for their place."""
    return source.media, source.content_hash


def split_duplicates(sources: Iterable[Source], known: Iterable[Source]) -> tuple[list[Source], list[Source]]:
    """The sources that bring something new, and those with the bytes of one of them or of a known one."""
    seen = {content_of(source) for source in known}
    new: list[Source] = []
    copies: list[Source] = []
    for source in sources:
        (copies if content_of(source) in seen else new).append(source)
        seen.add(content_of(source))
    return new, copies


class DuplicateResolver:
    """The chunks of files that are copies of others, read off the index. written: uris that are no originals."""

    def __init__(self, index: ChunkIndex, written: Collection[str]) -> None:
        originals = (source for source in index.sources().values() if source.uri not in written)
        self._index = index
        self._originals: Mapping[Content, Source] = {content_of(source): source for source in originals}

    def has(self, source: Source) -> bool:
        """Whether the index holds a file with the same bytes."""
        return content_of(source) in self._originals

    def original(self, source: Source) -> Source:
        """That file."""
        return self._originals[content_of(source)]

    def chunks(self, source: Source) -> Iterator[Chunk]:
        """The chunks of the original, as those of the source."""
        for hit in self._index.find(filter={"source": self.original(source).uri}):
            yield Chunk(source, hit.kind, hit.locator, hit.text, hit.caption, hit.ocr, metadata=hit.metadata)


class ReusedVectors(EmbedStage):
    """Takes the vectors of copies over from their originals."""

    def __init__(self, embedding: EmbedStage, index: ChunkIndex, copying: DuplicateResolver) -> None:
        super().__init__(embedding.embedder, None, embedding.text_embedder)
        self._index = index
        self._copying = copying

    def embedded(self, batch: list[Chunk]) -> EmbeddedBatch:
        """The stored vectors; those of words are made again, which is cheap beside the pictures."""
        originals = [replace(chunk, source=self._copying.original(chunk.source)).id for chunk in batch]
        words = embed_words(self.text_embedder, batch) if self.text_embedder else None
        return EmbeddedBatch(batch, self._index.vectors(originals), words)
