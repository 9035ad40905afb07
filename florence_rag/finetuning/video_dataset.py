"""The videos of a data set, each looked at once before training, and the clips that a network learns from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from florence_rag.chunking.frame_sampling import length_s, read_motion
from florence_rag.datasets.videos import VideoClip
from florence_rag.finetuning.image_dataset import IN_MEMORY_BYTES, faults, random_part
from florence_rag.models.processing import FlorenceImageProcessor


class Films:
    """Videos as pictures of the size that a network takes, and as many in a second.

    frames: how many each has. failed: those that are missing or damaged. Of videos that are too many to be kept, what
    is wanted is read again whenever it is.
    """

    def __init__(self, paths: Iterable[Path], processor: FlorenceImageProcessor, rate_hz: float) -> None:
        self._processor, self._rate_hz = processor, rate_hz
        self._kept: dict[Path, np.ndarray] = {}
        self._room = IN_MEMORY_BYTES // (3 * processor.size**2)
        self.frames: dict[Path, int] = {}
        self.failed = faults(paths, self._look)

    def clip(self, path: Path, numbers: Sequence[int]) -> np.ndarray:
        """These frames of a video, in rising order: (T, size, size, 3) uint8 RGB."""
        kept = self._kept.get(path)
        if kept is not None:
            return kept[list(numbers)]
        first, last = numbers[0], min(numbers[-1], self.frames[path] - 1)
        seen = self._read(path, first / self._rate_hz, (last + 1) / self._rate_hz)
        return seen[[min(number - first, len(seen) - 1) for number in numbers]]

    def _look(self, path: Path) -> None:
        seen = self._read(path, 0.0, length_s(str(path)))
        self.frames[path] = len(seen)
        if sum(map(len, self._kept.values())) + len(seen) <= self._room:
            self._kept[path] = seen

    def _read(self, path: Path, start_s: float, end_s: float) -> np.ndarray:
        shown = read_motion(str(path), start_s, end_s, self._rate_hz)
        return np.stack([self._processor.resize(frame) for _, _, frame in shown])


class Clips(Dataset[dict[str, Any]]):
    """Videos as clips of so many frames with the number of their label.

    One that is not varied shows all of its video, at even times. In training half of them are as dense as what a
    recogniser looks at, from anywhere in the video, the others spread over it; the view and the light vary, too. Of a
    video that has fewer frames some are shown several times.
    """

    def __init__(
        self, rows: Sequence[VideoClip], films: Films, labels: Sequence[str], frames: int, *, varied: bool
    ) -> None:
        self.rows, self.films, self.frames, self.varied = rows, films, frames, varied
        self.number = {label: i for i, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        pixels = self.films.clip(row.path, self._chosen(self.films.frames[row.path]))
        return {"pixels": _lit(random_part(pixels)) if self.varied else pixels, "label": self.number[row.label]}

    def _chosen(self, count: int) -> list[int]:
        """Of so many frames."""
        if self.varied and count > self.frames and float(torch.rand(())) < 0.5:
            first = int(torch.randint(count - self.frames + 1, ()))
            return list(range(first, first + self.frames))
        within = torch.rand(self.frames) if self.varied else torch.full((self.frames,), 0.5)
        return ((torch.arange(self.frames) + within) * count / self.frames).long().clamp(max=count - 1).tolist()


def _lit(pixels: np.ndarray) -> np.ndarray:
    """All frames of a clip as much lighter or darker."""
    light = 1 + 0.1 * float(torch.randn(()))
    return (pixels * np.float32(light)).clip(0, 255).astype(np.uint8)
