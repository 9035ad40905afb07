"""Examples to learn from: the pixels of their images and videos, and the split into training and validation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Generic, TypeVar

import numpy as np
import torch
from PIL import Image

from florence_rag.chunking import read_image
from florence_rag.chunking.video import sample_frames
from florence_rag.datasets.dataset_io import HasSplit
from florence_rag.datasets.videos import VideoClip, clip_frames
from florence_rag.errors import InputError
from florence_rag.models.processing import FlorenceImageProcessor
from florence_rag.types import Failure

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
S = TypeVar("S", bound=HasSplit)

TRAINING_SPLITS = ("train", "restval")
VALIDATION_SPLITS = ("val", "validate", "validation")
MEMORY_BYTES = 2 << 30
"""The memory for resized images; those that do not fit are read from their files again."""
MIN_CROP = 0.8
"""The least side of a random crop, as a share of the side of the image."""


class PixelCache(ABC, Generic[K]):
    """Images or videos at the size that a network takes; `failed` has the reasons for unreadable files.

    All files are read before training, so that unreadable ones are reported at once.
    """

    def __init__(self, keys: Iterable[K], processor: FlorenceImageProcessor, memory_bytes: int = MEMORY_BYTES) -> None:
        self.processor = processor
        self.pixels: dict[K, np.ndarray] = {}
        self._free_bytes = memory_bytes
        distinct = list(dict.fromkeys(keys))
        with ThreadPoolExecutor(4) as pool:
            failures = zip(distinct, pool.map(self._load, distinct), strict=True)
            self.failed = {key: failure for key, failure in failures if failure is not None}

    def _load(self, key: K) -> Failure | None:
        try:
            pixels = self.read(key)
        except InputError as error:
            return Failure(key.name if isinstance(key, VideoClip) else str(key), str(error))
        if pixels.nbytes <= self._free_bytes:
            self._free_bytes -= pixels.nbytes
            self.pixels[key] = pixels
        return None

    @abstractmethod
    def read(self, key: K) -> np.ndarray:
        """Read a file; raise InputError if that is impossible."""


class ImageCache(PixelCache[Path]):
    """Image files as pixels."""

    def read(self, key: Path) -> np.ndarray:
        """Return the pixels of a file, (size, size, 3) uint8 RGB."""
        return self.processor.resize(read_image(key))

    def __getitem__(self, path: Path) -> np.ndarray:
        pixels = self.pixels.get(path)
        return self.read(path) if pixels is None else pixels


class VideoCache(PixelCache[VideoClip]):
    """Videos as frames at the rate that a network takes; `frames` is the number of frames of each video."""

    def __init__(
        self,
        clips: Iterable[VideoClip],
        processor: FlorenceImageProcessor,
        fps: float,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.fps = fps
        self.frames: dict[VideoClip, int] = {}
        super().__init__(clips, processor, memory_bytes)

    def read(self, key: VideoClip) -> np.ndarray:
        """Return all frames of a video, (T, size, size, 3) uint8 RGB."""
        pixels = np.stack([self.processor.resize(frame) for frame in clip_frames(key, self.fps)])
        self.frames[key] = len(pixels)
        return pixels

    def select(self, clip: VideoClip, indices: Sequence[int]) -> np.ndarray:
        """Return the frames with these increasing indices, (T, size, size, 3) uint8 RGB."""
        pixels = self.pixels.get(clip)
        if pixels is not None:
            return pixels[list(indices)]
        first, last = indices[0], min(indices[-1], self.frames[clip] - 1)
        start_s, end_s = (clip.start_s + index / self.fps for index in (first, last + 1))
        read = [frame for _, _, frame in sample_frames(str(clip.path), start_s, end_s, self.fps)]
        return np.stack([self.processor.resize(read[min(index - first, len(read) - 1)]) for index in indices])


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


def split_examples(
    examples: Sequence[S],
    share: float,
    seed: int,
    *,
    stratum: Callable[[S], object] = lambda _: None,
    unit: Callable[[S], Hashable] | None = None,
) -> tuple[list[S], list[S]]:
    """Divide examples into those to learn from and those to validate with, by their splits or else at random.

    `share` is the share of each `stratum`, such as a class, that validates. Examples with the same `unit`, such as
    questions about one image, stay together. InputError is raised if all examples are for validation.
    """
    train = [each for each in examples if each.split in TRAINING_SPLITS]
    validation = [each for each in examples if each.split in VALIDATION_SPLITS]
    free = [each for each in examples if not each.split]
    if train and not validation:
        train, validation = train_val_split(train, [None] * len(train), share, seed)
    units: dict[Hashable, list[S]] = {}
    for number, each in enumerate(free):
        units.setdefault(number if unit is None else unit(each), []).append(each)
    groups = list(units.values()) if len(units) > 1 else [[each] for each in free]
    parts = train_val_split(groups, [stratum(group[0]) for group in groups], share, seed)
    more_train, more_validation = ([each for group in part for each in group] for part in parts)
    if not train and not more_train:
        raise InputError("all examples are of the validation split: there is nothing to learn from")
    return more_train + train, more_validation + validation


def train_val_split(items: Sequence[T], strata: Sequence[object], share: float, seed: int) -> tuple[list[T], list[T]]:
    """Divide items at random: this share of each stratum validates, and at least one item if there are two.

    Both parts are shuffled. Equal arguments give equal parts.
    """
    rng = Random(seed)
    members: dict[object, list[int]] = {}
    for index, stratum in enumerate(strata):
        members.setdefault(stratum, []).append(index)
    chosen: set[int] = set()
    for indices in members.values():
        rng.shuffle(indices)
        chosen.update(indices[: int(share * len(indices) + 0.5) if len(indices) > 1 else 0])
    if not chosen and len(items) > 1:
        chosen.add(max(members.values(), key=len)[0])
    order = list(range(len(items)))
    rng.shuffle(order)
    return [items[i] for i in order if i not in chosen], [items[i] for i in order if i in chosen]
