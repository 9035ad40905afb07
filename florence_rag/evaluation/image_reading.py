"""Reads and embeds the images of a data set; missing and damaged images are reported, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.types import Failure, Frame

S = TypeVar("S")
Track = Callable[[Sequence[Any]], Iterable[Any]]
"""Iterates over the items of a run, and may show the progress."""

_BATCH = 32


def read_images(
    items: Iterable[S],
    failed: list[Failure],
    path_of: Callable[[S], Path] = attrgetter("path"),
    detail_px: int | None = None,
) -> Iterator[tuple[S, Frame]]:
    """Yield each item with its image, and append a failure for each image that cannot be read."""
    config = ChunkingConfig(image_detail_px=detail_px)
    for item in items:
        path = path_of(item)
        try:
            frame = read_image(path, config.image_side_px, config.image_detail_px)
        except InputError as error:
            failed.append(Failure(str(path), str(error)))
            continue
        yield item, frame


def embed_images(items: Iterable[S], embedder: Embedder, failed: list[Failure]) -> tuple[list[S], np.ndarray]:
    """Return the items whose `path` is a readable image, and the vectors of these images, (N, D)."""
    usable: list[S] = []
    vectors = []
    pairs = read_images(items, failed, detail_px=embedder.capabilities.detail_px)
    while batch := list(islice(pairs, _BATCH)):
        usable += [item for item, _ in batch]
        vectors.append(embedder.embed_images([frame for _, frame in batch]))
    check_any_usable(usable, failed, "images")
    return usable, np.concatenate(vectors)


def check_any_usable(usable: Sequence[object], failed: Sequence[Failure], name: str) -> None:
    """Raise InputError with the first reason if no item can be used; name: the kind of the items, in the plural."""
    if not usable:
        reason = f": {failed[0].source}: {failed[0].reason}" if failed else ""
        raise InputError(f"none of the {name} can be read{reason}")
