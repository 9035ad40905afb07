"""Near-duplicates: images that look the same although their bytes differ."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from florence_rag.chunking import ChunkingConfig, chunk
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.retrieval.perceptual_hash import PerceptualHashes, hash_image
from florence_rag.types import PERCEPTUAL_HASH, Chunk, Source

NearDuplicates = Literal["keep", "link", "drop"]
"""What to do with images that look the same: index all and show each as a hit of its own ("keep"), index all and show
them as one hit ("link"), or index only one of them ("drop")."""


def check_near_duplicates(choice: str) -> None:
    """Raise InputError for an unknown choice."""
    if choice not in get_args(NearDuplicates):
        raise InputError(f"near_duplicates is {choice!r}; allowed are 'keep', 'link' and 'drop'")


def chunk_with_hashes(source: Source, config: ChunkingConfig) -> Iterator[Chunk]:
    """Yield the chunks of a source; those of images with a perceptual hash of the decoded pixels."""
    for each in chunk(source, config):
        if each.kind == "image":
            each = replace(each, metadata={**each.metadata, PERCEPTUAL_HASH: hash_image(each.frames[0])})
        yield each


class NearDuplicateFilter:
    """Finds the indexed image that looks the same as a new one.

    Args:
        index: The index, whose images are read once.
        exclude: The uris of sources that are about to be replaced or deleted.
    """

    def __init__(self, index: ChunkIndex, exclude: Collection[str]) -> None:
        self._hashes = PerceptualHashes()
        self._uris: list[str] = []  # by the number of the hash
        self._originals: set[str] = set()
        for hit in index.find(kinds={"image"}):
            if hit.uri not in exclude and not hit.is_item:
                self._add(hit.uri, hit.metadata)

    def original_of(self, chunk: Chunk) -> str | None:
        """Return the uri of an image that looks the same; if there is none, remember this image and return None."""
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
        self._hashes.add(metadata)
        self._uris.append(uri)
        self._originals.add(uri)
