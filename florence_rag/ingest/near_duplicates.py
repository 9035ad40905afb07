"""Pictures that look the same: what is kept of each to tell, and which are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from florence_rag.chunking import ChunkingConfig, chunk
from florence_rag.errors import InputError
from florence_rag.index.base import ChunkIndex
from florence_rag.retrieval.perceptual_hash import LOOK, Looks, look_of
from florence_rag.types import Chunk, Source

NearDuplicates = Literal["keep", "link", "drop"]
"""keep: every picture is a hit of its own. link: a search shows those that look the same as one. drop: of those that
look the same one is indexed."""


def check_near_duplicates(choice: str) -> None:
    """InputError for what is no choice."""
    if choice not in get_args(NearDuplicates):
        raise InputError(f"near_duplicates is {choice!r}; allowed are 'keep', 'link' and 'drop'")


def chunk_with_looks(source: Source, config: ChunkingConfig) -> Iterator[Chunk]:
    """The chunks of a source, images with what they look like, told from the pixels that are decoded anyway."""
    for each in chunk(source, config):
        if each.kind == "image":
            each = replace(each, metadata={**each.metadata, LOOK: look_of(each.frames[0])})
        yield each


class NearDuplicateFilter:
    """The pictures of an index, each of which stands for all that look the same. without: uris that do not count."""

    def __init__(self, index: ChunkIndex, without: Collection[str]) -> None:
        self._looks = Looks()
        self._uris: list[str] = []
        self._numbers: dict[str, int] = {}
        for hit in index.find(kinds={"image"}):
            if hit.uri not in without and not hit.is_item:
                self._put(hit.uri, hit.metadata)

    def for_chunk(self, chunk: Chunk) -> str | None:
        """The uri of the picture that stands for this one; None if it now stands for itself."""
        if chunk.kind != "image":
            return None
        found = self._looks.find(chunk.metadata, bursts=False)
        if found is None:
            self._put(chunk.source.uri, chunk.metadata)
        return None if found is None or self._uris[found] == chunk.source.uri else self._uris[found]

    def has(self, uri: str) -> bool:
        """Whether the picture of this uri stands for others."""
        return uri in self._numbers

    def _put(self, uri: str, metadata: Mapping[str, Any]) -> None:
        self._numbers[uri] = self._looks.put(metadata)
        self._uris.append(uri)
