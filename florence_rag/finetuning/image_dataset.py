"""The pictures of a data set, each looked at once before training: what cannot be read is told then, not at night."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
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

IN_MEMORY_BYTES = 2 << 30
"""As many resized pictures are kept; others are read again whenever they come up."""
LEAST_SHOWN = 0.8
"""Of the sides of a picture, when a part of it is shown in training."""


class Pictures:
    """Files -> pixels of the size that a network takes. failed: those that are missing or damaged, each once."""

    def __init__(self, paths: Iterable[Path], processor: FlorenceImageProcessor) -> None:
        self._processor = processor
        self._kept: dict[Path, np.ndarray] = {}
        self._room = IN_MEMORY_BYTES // (3 * processor.size**2)
        self.failed = faults(paths, self._look)

    def __getitem__(self, path: Path) -> np.ndarray:
        """(size, size, 3) uint8 RGB."""
        kept = self._kept.get(path)
        return self._read(path) if kept is None else kept

    def _look(self, path: Path) -> None:
        pixels = self._read(path)
        if len(self._kept) < self._room:
            self._kept[path] = pixels

    def _read(self, path: Path) -> np.ndarray:
        return self._processor.resize(read_image(path))


def faults(paths: Iterable[Path], look: Callable[[Path], None], *, threads: int = 4) -> dict[Path, Failure]:
    """Looks at each file once, several at a time; why some cannot be read."""

    def fault(path: Path) -> Failure | None:
        try:
            look(path)
        except InputError as error:
            return Failure(str(path), str(error))
        return None

    files = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(threads) as pool:
        told = zip(files, pool.map(fault, files), strict=True)
        return {path: failure for path, failure in told if failure is not None}


def readable(
    rows: Sequence[T], failed: Mapping[Path, Failure], data: object, file: Callable[[T], Path] = attrgetter("image")
) -> list[T]:
    """The rows whose files can be read; InputError, with the first reason, where not even two are left."""
    kept = [row for row in rows if file(row) not in failed]
    if len(kept) < 2:
        reason = next((f": {failure.reason}" for failure in failed.values()), "")
        raise InputError(f"{len(kept)} of the {len(rows)} examples of {data} can be used; training needs two{reason}")
    return kept


def random_part(frames: np.ndarray) -> np.ndarray:
    """The same part of all frames (T, size, size, 3), as large as they are. Not mirrored: left and right may matter."""
    size = frames.shape[1]
    side = size * (LEAST_SHOWN + (1 - LEAST_SHOWN) * float(torch.rand(())))
    left, top = ((size - side) * float(torch.rand(())) for _ in range(2))
    box = (left, top, left + side, top + side)
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((size, size), Image.Resampling.BILINEAR, box)) for each in frames]
    )
