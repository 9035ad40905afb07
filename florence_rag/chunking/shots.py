"""Detects shots and cuts them into clips with keyframes, in one pass and with bounded memory."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode
from scenedetect.common import Timecode

from florence_rag.types import Frame

SLOT_S = 0.5
"""The sharpest frame of each slot of this length may become a keyframe."""

_SHARPER = 1.1  # ignores the noise of a still image: converting a frame costs as much as decoding it
_CLOCK_HZ = 90_000
_THUMBNAIL_PX = 256


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """A decoded frame: a small BGR thumbnail for the detector, and a function that returns the frame in full size."""

    time_s: float
    thumbnail: np.ndarray
    to_frame: Callable[[], Frame]


@dataclass(frozen=True, slots=True)
class Clip:
    """A part of one shot."""

    start_s: float
    end_s: float
    keyframes: tuple[tuple[float, Frame], ...]  # (seconds, frame), in order of time
    continues: bool = False  # whether the previous clip is of the same shot


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Return the (width, height) of the thumbnail of a frame."""
    return _THUMBNAIL_PX, min(max(2, round(height * _THUMBNAIL_PX / width)), 2 * _THUMBNAIL_PX)


def mark_shots(
    frames: Iterable[DecodedFrame], min_shot_s: float, *, sparse: bool = False
) -> Iterator[tuple[DecodedFrame, bool]]:
    """Yield each frame, and whether a new shot begins with it.

    PySceneDetect's adaptive detector is called directly, because its manager would decode the video a second time. The
    detector reports a cut two frames late, so this function holds back as many frames. sparse says that frames are
    seconds apart, so that the changes around a cut do not help to detect it.
    """
    detector = (ContentDetector if sparse else AdaptiveDetector)(min_scene_len=float(min_shot_s))
    waiting: deque[DecodedFrame] = deque()
    cuts: set[int] = set()
    for frame in frames:
        waiting.append(frame)
        # The frame rate is only the unit in which PySceneDetect compares lengths; the time is exact.
        timecode = FrameTimecode(Timecode(pts=_ticks(frame), time_base=Fraction(1, _CLOCK_HZ)), fps=1000.0)
        cuts.update(cut.pts for cut in detector.process_frame(timecode, frame.thumbnail))
        if len(waiting) > detector.event_buffer_length:
            yield waiting[0], _ticks(waiting.popleft()) in cuts
    for frame in waiting:
        yield frame, _ticks(frame) in cuts


@dataclass(slots=True)
class _Slot:
    """The sharpest frame of a short interval that begins at start_s."""

    start_s: float
    time_s: float
    sharpness: float
    frame: Frame


class ClipBuilder:
    """Collects the frames of one shot after another and yields clips as soon as their ends are certain.

    It holds the slots of at most two clips of the longest length: about 40 small frames with the defaults.
    """

    def __init__(self, max_clip_s: float, keyframes: int) -> None:
        self._max_clip_s = max_clip_s
        self._keyframes = keyframes
        self._slots: list[_Slot] = []
        self._continues = False

    def add(self, frame: DecodedFrame) -> Iterator[Clip]:
        """Add the next frame of the shot; yield the first part of a shot that is too long for one clip."""
        sharpness = _sharpness(frame.thumbnail)
        slot = self._slots[-1] if self._slots else None
        if slot is None or frame.time_s >= slot.start_s + SLOT_S:
            self._slots.append(_Slot(frame.time_s, frame.time_s, sharpness, frame.to_frame()))
        elif sharpness > slot.sharpness * _SHARPER:
            slot.time_s, slot.sharpness, slot.frame = frame.time_s, sharpness, frame.to_frame()
        if frame.time_s >= self._slots[0].start_s + 2 * self._max_clip_s:
            yield self._cut(self._slots[0].start_s + self._max_clip_s)

    def finish(self, end_s: float) -> Iterator[Clip]:
        """End the shot; yield the rest of it, in equal parts if it is too long for one clip."""
        if self._slots:
            length = end_s - self._slots[0].start_s
            part_s = length / max(1, math.ceil(length / self._max_clip_s))
            while len(self._slots) > 1 and end_s - self._slots[0].start_s > part_s + SLOT_S:
                yield self._cut(self._slots[0].start_s + part_s)
            yield self._clip(self._slots, end_s)
            self._slots, self._continues = [], False

    def _cut(self, at_s: float) -> Clip:
        """Return the slots before at_s as a clip. A still image that lasts longer than a clip stays one clip."""
        index = next((i for i, slot in enumerate(self._slots) if i and slot.start_s >= at_s), len(self._slots) - 1)
        head, self._slots = self._slots[:index], self._slots[index:]
        clip = self._clip(head, self._slots[0].start_s)
        self._continues = True
        return clip

    def _clip(self, slots: Sequence[_Slot], end_s: float) -> Clip:
        """Return a clip with the slots nearest to even times: one keyframe for about three seconds, at least one."""
        start_s = slots[0].start_s
        count = min(self._keyframes, len(slots), max(1, math.ceil((end_s - start_s) / 3)))
        step_s = (end_s - start_s) / count
        times_s = [start_s + (i + 0.5) * step_s for i in range(count)]
        chosen = {min(range(len(slots)), key=lambda i: abs(slots[i].time_s - time_s)) for time_s in times_s}
        keyframes = tuple((slots[i].time_s, slots[i].frame) for i in sorted(chosen))
        return Clip(start_s, end_s, keyframes, self._continues)


def _sharpness(thumbnail: np.ndarray) -> float:
    """Return the mean squared difference of adjacent green pixels, which is low in a blurred frame."""
    green = thumbnail[:, :, 1].astype(np.float32)
    return float(np.mean(np.diff(green, axis=0) ** 2) + np.mean(np.diff(green, axis=1) ** 2))


def _ticks(frame: DecodedFrame) -> int:
    return round(frame.time_s * _CLOCK_HZ)
