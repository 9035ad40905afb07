"""Recognizes content that is indexed already: equal bytes, which need no second embedding, and near-duplicates."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from florence_rag.chunking import ChunkingConfig, chunk_or_skip
from florence_rag.embedding.base import TextEmbedder
from florence_rag.index.base import ChunkIndex
from florence_rag.ingest.embed_stage import EmbeddedBatch, embed_chunk_texts
from florence_rag.retrieval.perceptual_hash import PerceptualHashes, hash_image
from florence_rag.types import PERCEPTUAL_HASH, Chunk, Media, Skipped, Source

NearDuplicates = Literal["keep", "link", "drop"]
"""What to do with near-duplicate images: index all and show each as a hit of its own ("keep"), index all and show them
as one hit ("link"), or index only one of them ("drop")."""


def content_key(source: Source) -> tuple[Media, str]:
    """Return a key that is equal for sources whose chunks differ in nothing but the uri."""
    return source.media, source.content_hash


def split_duplicates(sources: Iterable[Source], indexed: Iterable[Source]) -> tuple[list[Source], list[Source]]:
    """Return the sources with new content, and those that duplicate an indexed source or an earlier one of these."""
    seen = {content_key(source) for source in indexed}
    new: list[Source] = []
    duplicates: list[Source] = []
    for source in sources:
        (duplicates if content_key(source) in seen else new).append(source)
        seen.add(content_key(source))
    return new, duplicates


class DuplicateResolver:
    """Makes the rows of duplicates from the rows of their originals, which are the indexed sources not excluded."""

    def __init__(self, index: ChunkIndex, text_embedder: TextEmbedder | None, exclude: Collection[str]) -> None:
        originals = (source for source in index.sources().values() if source.uri not in exclude)
        self._index = index
        self._skipped = index.skipped_parts()
        self._text_embedder = text_embedder
        self._originals = {content_key(source): source for source in originals}

    def original(self, source: Source) -> Source | None:
        """Return the indexed source with the same bytes, if there is one."""
        return self._originals.get(content_key(source))

    def chunks(self, source: Source) -> Iterator[Chunk | Skipped]:
        """Yield the chunks of the original as chunks of the duplicate, without frames, and what of it is skipped."""
        original = self._originals[content_key(source)]
        yield from (replace(part, source=source.uri) for part in self._skipped.get(original.uri, ()))
        for hit in self._index.find(filter={"chunk.source": original.uri}):
            yield Chunk(source, hit.kind, hit.locator, hit.text, hit.caption, hit.ocr, metadata=hit.metadata)

    def embed(self, chunks: list[Chunk]) -> EmbeddedBatch:
        """Return chunks of duplicates with the stored vectors of their originals; texts are cheap to embed again."""
        ids = [replace(chunk, source=self._originals[content_key(chunk.source)]).id for chunk in chunks]
        return EmbeddedBatch(chunks, self._index.vectors(ids), embed_chunk_texts(self._text_embedder, chunks))


def chunk_with_hashes(source: Source, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield what `chunk_or_skip` yields of a source; images with a perceptual hash of the decoded pixels."""
    for each in chunk_or_skip(source, config):
        if isinstance(each, Chunk) and each.kind == "image":
            each = replace(each, metadata={**each.metadata, PERCEPTUAL_HASH: hash_image(each.frames[0])})
        yield each


class NearDuplicateFilter:
    """Finds the indexed near-duplicate of a new image, and contains the uris of the images that it compares."""

    def __init__(self, index: ChunkIndex, exclude: Collection[str]) -> None:
        self._hashes = PerceptualHashes()
        self._uris: dict[int, str] = {}  # by the number of the hash
        self._originals: set[str] = set()
        for hit in index.find(kinds={"image"}):
            if hit.uri not in exclude and not hit.is_item:
                self._add(hit.uri, hit.metadata)

    def original_of(self, chunk: Chunk) -> str | None:
        """Return the uri of a near-duplicate; if there is none, compare later images with this one and return None."""
        if chunk.kind != "image":
            return None
        found = self._hashes.find(chunk.metadata, bursts=False)
        if found is None:
            self._add(chunk.source.uri, chunk.metadata)
            return None
        return None if self._uris[found] == chunk.source.uri else self._uris[found]

    def __contains__(self, uri: str) -> bool:
        return uri in self._originals

    def _add(self, uri: str, metadata: Mapping[str, Any]) -> None:
        self._uris[self._hashes.add(metadata)] = uri
        self._originals.add(uri)
