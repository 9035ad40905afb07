"""The pictures of a data set, each looked at once before training: what cannot be read is told then, not at night."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from florence_rag.chunking import read_image
from florence_rag.errors import InputError
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.types import Failure

IN_MEMORY_BYTES = 2 << 30
"""As many resized pictures are kept; others are read again whenever they come up."""


class Pictures:
    """Files -> pixels of the size that a network takes. failed: those that are missing or damaged, each once."""

    def __init__(self, paths: Iterable[Path], processor: FlorenceImageProcessor, *, threads: int = 4) -> None:
        self._processor = processor
        self._kept: dict[Path, np.ndarray] = {}
        self.failed: dict[Path, Failure] = {}
        self._room = IN_MEMORY_BYTES // (3 * processor.size**2)
        files = list(dict.fromkeys(paths))
        with ThreadPoolExecutor(threads) as pool:
            for path, fault in zip(files, pool.map(self._look, files), strict=True):
                if fault is not None:
                    self.failed[path] = fault

    def __getitem__(self, path: Path) -> np.ndarray:
        """(size, size, 3) uint8 RGB."""
        kept = self._kept.get(path)
        return self._read(path) if kept is None else kept

    def _look(self, path: Path) -> Failure | None:
        try:
            pixels = self._read(path)
        except InputError as error:
            return Failure(str(path), str(error))
        if len(self._kept) < self._room:
            self._kept[path] = pixels
        return None

    def _read(self, path: Path) -> np.ndarray:
        return self._processor.resize(read_image(path))


def need_some(readable: int, given: int, data: str, failed: Iterable[Failure]) -> None:
    """InputError where not even two pictures are left, with the first reason."""
    if readable < 2:
        reason = next((f": {failure.reason}" for failure in failed), "")
        raise InputError(f"{readable} of the {given} examples of {data} can be used; training needs two{reason}")
