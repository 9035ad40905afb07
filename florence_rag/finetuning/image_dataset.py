"""The images of a data set, all of which are read before training, so that unreadable ones are reported at once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.types import Failure

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

MEMORY_BYTES = 2 << 30
"""The memory for resized images; those that do not fit are read from their files again."""
MIN_CROP = 0.8
"""The least side of a random crop, as a share of the side of the image."""


class ImageCache:
    """Image files as pixels of the size that a network takes; `failed` has the reasons for unreadable files."""

    def __init__(
        self, paths: Iterable[Path], processor: FlorenceImageProcessor, memory_bytes: int = MEMORY_BYTES
    ) -> None:
        self._processor = processor
        self._pixels: dict[Path, np.ndarray] = {}
        self._capacity = memory_bytes // (3 * processor.size**2)
        self.failed = find_unreadable(paths, self._load)

    def __getitem__(self, path: Path) -> np.ndarray:
        """Return the pixels of a file, (size, size, 3) uint8 RGB."""
        pixels = self._pixels.get(path)
        return self._read(path) if pixels is None else pixels

    def _load(self, path: Path) -> None:
        pixels = self._read(path)
        if len(self._pixels) < self._capacity:
            self._pixels[path] = pixels

    def _read(self, path: Path) -> np.ndarray:
        return self._processor.resize(read_image(path))


def find_unreadable(
    items: Iterable[K], read: Callable[[K], None], name_of: Callable[[K], str] = str, *, threads: int = 4
) -> dict[K, Failure]:
    """Read each item once, several at a time, and return a failure for each that raises InputError."""

    def failure_of(item: K) -> Failure | None:
        try:
            read(item)
        except InputError as error:
            return Failure(name_of(item), str(error))
        return None

    distinct = list(dict.fromkeys(items))
    with ThreadPoolExecutor(threads) as pool:
        results = zip(distinct, pool.map(failure_of, distinct), strict=True)
        return {item: failure for item, failure in results if failure is not None}


def usable_examples(examples: Sequence[T], failed: Mapping[K, Failure], data: object, key: Callable[[T], K]) -> list[T]:
    """Return the examples whose key is not in `failed`; raise InputError if there are fewer than two."""
    usable = [example for example in examples if key(example) not in failed]
    if len(usable) < 2:
        reason = next((f": {failure.reason}" for failure in failed.values()), "")
        total = len(examples)
        raise InputError(f"{len(usable)} of the {total} examples of {data} can be used; training needs two{reason}")
    return usable


def random_crop(frames: np.ndarray) -> np.ndarray:
    """Return the same random crop of all frames, (T, size, size, 3) uint8, at their size.

    Frames are not mirrored, as left and right may matter.
    """
    size = frames.shape[1]
    side = size * (MIN_CROP + (1 - MIN_CROP) * float(torch.rand(())))
    left, top = ((size - side) * float(torch.rand(())) for _ in range(2))
    box = (left, top, left + side, top + side)
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BILINEAR, box)) for each in frames]
    )
