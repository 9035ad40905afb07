"""Cuts animated images (GIF, WebP, PNG, AVIF) into clips as videos are, and slide shows into one clip per still."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import BinaryIO

import numpy as np
from PIL import Image

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.image_decoder import check_pixels, damage_reported, image_to_frame, open_image, read_head
from florence_rag.chunking.shots import Clip, ClipBuilder, DecodedFrame, mark_shots, thumbnail_size
from florence_rag.chunking.tiff import is_tiff
from florence_rag.errors import MediaError
from florence_rag.types import Chunk, Frame, Locator, Skipped, Source

MAX_ANIMATION_FRAMES, MAX_ANIMATION_PIXELS = 10_000, 1_000_000_000
"""The most frames of an animation that are decoded, and the most pixels of all of them."""
_FORMATS = ("GIF", "PNG", "WEBP", "AVIF")  # in other formats, further images are pages or other views
_STILL_S = 0.4  # a frame that is shown as long as this is to be seen by itself
_FEW = 5  # frames that are stills, however short they are shown
_DEFAULT_S, _MIN_S = 0.1, 0.011  # browsers show frames without a duration, or with a shorter one, as long as this

TimedFrame = tuple[float, float, Frame]
"""(start in seconds, duration in seconds, frame)"""


def is_animation(file: BinaryIO, name: str) -> bool:
    """Return whether an image file has several frames that are shown one after another."""
    if is_tiff(read_head(file)):
        return False
    with open_image(file, name) as image, damage_reported(name):
        return image.format in _FORMATS and len(_indices(image)) > 1


def chunk_source(source: Source, file: BinaryIO, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield one chunk per clip, and a record if the animation is damaged or too long to be read to its end."""
    with open_image(file, repr(source.uri)) as image:
        frames = _Frames(image, repr(source.uri), config.keyframe_side_px)
        metadata = {"width": image.width, "height": image.height}
        for clip in _clips(frames, config, slides=len(_indices(image)) <= _FEW):
            yield Chunk(
                source,
                "clip",
                Locator(start_s=clip.start_s, end_s=clip.end_s),
                frames=tuple(frame for _, frame in clip.keyframes),
                metadata={**metadata, "keyframes_s": [time_s for time_s, _ in clip.keyframes]},
            )
        if frames.unread:
            yield Skipped(source.uri, frames.unread, Locator(start_s=frames.end_s, end_s=frames.end_s))


def read_frames(file: BinaryIO, name: str, times_s: Sequence[float], max_side_px: int) -> tuple[Frame, ...]:
    """Read the frames that are shown first at some times, in seconds."""
    found: dict[float, Frame] = {}
    with open_image(file, name) as image:
        for start_s, _, frame in _Frames(image, name, max_side_px):
            found |= {time_s: frame for time_s in times_s if abs(time_s - start_s) < 0.002}
            if start_s > max(times_s):
                break
    if missing := [time_s for time_s in times_s if time_s not in found]:
        raise MediaError(f"{name} has no frame at {missing[0]:.3f} s; index it again if it has changed")
    return tuple(found[time_s] for time_s in times_s)


class _Frames:
    """The frames of an animation, with their times.

    Attributes:
        end_s: The end of the last frame that was read.
        unread: Why the animation is not read to its end; "" if it is.
    """

    def __init__(self, image: Image.Image, name: str, max_side_px: int) -> None:
        check_pixels(image.size, name)
        self._image, self._name, self._max_side_px = image, name, max_side_px
        self.end_s, self.unread = 0.0, ""

    def __iter__(self) -> Iterator[TimedFrame]:
        pixels = self._image.width * self._image.height
        for number, index in enumerate(_indices(self._image), 1):
            if number > MAX_ANIMATION_FRAMES or number * pixels > MAX_ANIMATION_PIXELS:
                self.unread = "end of a long animation"
                return
            try:
                duration_s, frame = self._read(index)
            except MediaError:
                if number == 1:
                    raise
                self.unread = "damaged frames"
                return
            yield round(self.end_s, 3), duration_s, frame
            self.end_s = round(self.end_s + duration_s, 3)

    def _read(self, index: int) -> tuple[float, Frame]:
        with damage_reported(self._name):
            self._image.seek(index)
            frame = image_to_frame(self._image.copy(), self._max_side_px, self._name)
            duration_s = float(self._image.info.get("duration") or 0) / 1000
        return duration_s if duration_s >= _MIN_S else _DEFAULT_S, frame


def _indices(image: Image.Image) -> range:
    """Return the positions of the frames. A PNG may have a first image for programs that do not show animations."""
    return range(bool(getattr(image, "default_image", False)), getattr(image, "n_frames", 1))


def _clips(frames: _Frames, config: ChunkingConfig, *, slides: bool) -> Iterator[Clip]:
    builder = ClipBuilder(config.clip_max_s, config.keyframes)
    for frame, starts_shot in _shots(frames, config.clip_min_s, slides=slides):
        if starts_shot:
            yield from builder.finish(frame.time_s)
        yield from builder.add(frame)
    yield from builder.finish(frames.end_s)


def _shots(frames: Iterable[TimedFrame], min_shot_s: float, *, slides: bool) -> Iterator[tuple[DecodedFrame, bool]]:
    """Yield each frame, and whether a shot begins with it. Each still is a shot, and the frames between two stills."""
    for is_still, run in groupby(frames, key=lambda timed: slides or timed[1] >= _STILL_S):
        decoded = (_decoded(start_s, frame) for start_s, _, frame in run)
        marked = ((frame, True) for frame in decoded) if is_still else mark_shots(decoded, min_shot_s)
        for number, (frame, starts_shot) in enumerate(marked):
            yield frame, starts_shot or number == 0


def _decoded(start_s: float, frame: Frame) -> DecodedFrame:
    size = thumbnail_size(frame.shape[1], frame.shape[0])
    thumbnail = np.asarray(Image.fromarray(frame).resize(size))[:, :, ::-1]
    return DecodedFrame(start_s, np.ascontiguousarray(thumbnail), lambda: frame)
