"""The pictures of a data set: those that are missing or damaged are reported, and the run goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.types import Failure, Frame

S = TypeVar("S")
Watch = Callable[[Sequence[Any]], Iterable[Any]]
"""Goes through the items of a run, and may show how far it is."""

_BATCH = 32
_NUMBER = re.compile(r"(\d+)$")


def readable(
    items: Iterable[S], path_of: Callable[[S], Path], failed: list[Failure], detail_px: int | None = None
) -> Iterator[tuple[S, Frame]]:
    """Each item with its picture; those whose picture cannot be read are put down in `failed`."""
    config = ChunkingConfig(image_detail_px=detail_px)
    for item in items:
        path = path_of(item)
        try:
            frame = read_image(path, config.image_side_px, config.image_detail_px)
        except InputError as error:
            failed.append(Failure(str(path), str(error)))
            continue
        yield item, frame


def embedded(
    items: Iterable[S], path_of: Callable[[S], Path], embedder: Embedder, failed: list[Failure]
) -> tuple[list[S], np.ndarray]:
    """The items that can be read, and the vectors of their pictures, (N, D); InputError where none can be."""
    kept: list[S] = []
    vectors = []
    pairs = readable(items, path_of, failed, embedder.capabilities.detail_px)
    while batch := list(islice(pairs, _BATCH)):
        kept += [item for item, _ in batch]
        vectors.append(embedder.embed_images([frame for _, frame in batch]))
    check_any(kept, failed)
    return kept, np.concatenate(vectors)


def check_any(kept: Sequence[object], failed: Sequence[Failure]) -> None:
    """InputError where nothing is left to score, with the first reason."""
    if not kept:
        reason = f": {failed[0].reason}" if failed else ""
        raise InputError(f"none of the pictures can be read{reason}")


def numbered_pictures(folder: str | Path) -> dict[int, list[Path]]:
    """The pictures below a folder by the number that their names end with: COCO_val2014_000000000042.jpg is 42."""
    top = Path(folder).expanduser()
    if not top.is_dir():
        raise InputError(f"{str(top)!r} is no folder; give the folder of the pictures with --images")
    found: dict[int, list[Path]] = {}
    for path in sorted(top.rglob("*")):
        number = _NUMBER.search(path.stem)
        if number and MEDIA_BY_SUFFIX.get(path.suffix.lower()) == "image":
            found.setdefault(int(number[1]), []).append(path)
    return found
