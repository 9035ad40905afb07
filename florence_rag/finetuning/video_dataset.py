"""The videos of a data set, all of which are read before training, and the clips that a network learns from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from florence_rag.chunking.frame_sampling import sample_frames
from florence_rag.datasets.videos import VideoClip, clip_frames
from florence_rag.finetuning.image_dataset import MEMORY_BYTES, find_unreadable, random_crop
from florence_rag.models.processing import FlorenceImageProcessor


class VideoCache:
    """Videos as frames of the size and rate that a network takes.

    `frames` is the number of frames of each video, and `failed` has the reasons for unreadable ones.
    """

    def __init__(
        self,
        clips: Iterable[VideoClip],
        processor: FlorenceImageProcessor,
        rate_hz: float,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self._processor, self._rate_hz = processor, rate_hz
        self._pixels: dict[VideoClip, np.ndarray] = {}
        self._capacity = memory_bytes // (3 * processor.size**2)
        self.frames: dict[VideoClip, int] = {}
        self.failed = find_unreadable(clips, self._load, lambda clip: clip.name)

    def select(self, clip: VideoClip, indices: Sequence[int]) -> np.ndarray:
        """Return the frames with these rising indices, (T, size, size, 3) uint8 RGB."""
        pixels = self._pixels.get(clip)
        if pixels is not None:
            return pixels[list(indices)]
        first, last = indices[0], min(indices[-1], self.frames[clip] - 1)
        start_s, end_s = (clip.start_s + index / self._rate_hz for index in (first, last + 1))
        read = [frame for _, _, frame in sample_frames(str(clip.path), start_s, end_s, self._rate_hz)]
        return np.stack([self._processor.resize(read[min(index - first, len(read) - 1)]) for index in indices])

    def _load(self, clip: VideoClip) -> None:
        pixels = np.stack([self._processor.resize(frame) for frame in clip_frames(clip, self._rate_hz)])
        self.frames[clip] = len(pixels)
        if sum(map(len, self._pixels.values())) + len(pixels) <= self._capacity:
            self._pixels[clip] = pixels


class ClipDataset(Dataset[dict[str, Any]]):
    """Videos as clips of a fixed number of frames, with the indices of their labels.

    Without augmentation, a clip covers its whole video at even times. With augmentation, half of the clips are as dense
    as those that a recognizer sees, from a random part of the video, and the others are spread over it; the crop and
    the brightness vary. A video with too few frames shows some of them several times.
    """

    def __init__(
        self, clips: Sequence[VideoClip], cache: VideoCache, labels: Sequence[str], frames: int, *, augment: bool
    ) -> None:
        self.clips, self.cache, self.frames, self.augment = clips, cache, frames, augment
        self.index = {label: i for i, label in enumerate(labels)}

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        clip = self.clips[index]
        pixels = self.cache.select(clip, self.frame_indices(self.cache.frames[clip]))
        return {
            "pixels": _random_brightness(random_crop(pixels)) if self.augment else pixels,
            "label": self.index[clip.label],
        }

    def frame_indices(self, count: int) -> list[int]:
        """Return the rising indices of the frames that a clip shows of a video with `count` frames."""
        if self.augment and count > self.frames and float(torch.rand(())) < 0.5:
            first = int(torch.randint(count - self.frames + 1, ()))
            return list(range(first, first + self.frames))
        within = torch.rand(self.frames) if self.augment else torch.full((self.frames,), 0.5)
        return ((torch.arange(self.frames) + within) * count / self.frames).long().clamp(max=count - 1).tolist()


def _random_brightness(pixels: np.ndarray) -> np.ndarray:
    """Return all frames of a clip with the same random change of brightness."""
    factor = 1 + 0.1 * float(torch.randn(()))
    return (pixels * np.float32(factor)).clip(0, 255).astype(np.uint8)
