"""Reads and embeds the items of a data set; missing and damaged files are reported, and the run goes on."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from florence_rag.batching import batched
from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.types import Failure, Frame

R = TypeVar("R")
S = TypeVar("S")
Track = Callable[[Sequence[Any]], Iterable[Any]]
"""Iterates over the items of a run, and may show the progress."""

_BATCH = 32


def read_items(
    items: Iterable[S], kind: str, read: Callable[[S], R], failed: list[Failure], name_of: Callable[[S], object]
) -> Iterator[tuple[S, R]]:
    """Yield each item with what `read` returns, and append a failure for each item for which it raises InputError.

    InputError is raised if no item can be read; its message calls them by their `kind`, in the plural.
    """
    empty = True
    for item in items:
        try:
            content = read(item)
        except InputError as error:
            failed.append(Failure(str(name_of(item)), str(error)))
            continue
        empty = False
        yield item, content
    if empty:
        reason = f": {failed[0].source}: {failed[0].reason}" if failed else ""
        raise InputError(f"none of the {kind} can be read{reason}")


def read_images(
    items: Iterable[S],
    failed: list[Failure],
    path_of: Callable[[S], Path] = attrgetter("path"),
    detail_px: int | None = None,
) -> Iterator[tuple[S, Frame]]:
    """Yield each item with its image, and append a failure for each image that cannot be read, as `read_items` does."""
    side_px = ChunkingConfig().image_side_px
    return read_items(items, "images", lambda item: read_image(path_of(item), side_px, detail_px), failed, path_of)


def embed_images(items: Iterable[S], embedder: Embedder, failed: list[Failure]) -> tuple[list[S], np.ndarray]:
    """Return the items whose `path` is a readable image, and the vectors of these images, (N, D)."""
    usable: list[S] = []
    vectors = []
    for batch in batched(read_images(items, failed, detail_px=embedder.capabilities.detail_px), _BATCH):
        usable += [item for item, _ in batch]
        vectors.append(embedder.embed_images([frame for _, frame in batch]))
    return usable, np.concatenate(vectors)
