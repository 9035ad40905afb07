"""Where shots begin, and how a shot becomes clips with keyframes: in one pass, with bounded memory."""

from __future__ import annotations

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
"""Of each slot of this length the sharpest picture may become a keyframe."""

_SHARPER = 1.1  # not for the noise of a still: making a picture costs as much as decoding a frame
_CLOCK_HZ = 90_000


@dataclass(frozen=True, slots=True)
class Look:
    """A decoded frame as the detector sees it: small and BGR. picture() makes the frame a keyframe could be."""

    time_s: float
    thumbnail: np.ndarray
    picture: Callable[[], Frame]


@dataclass(frozen=True, slots=True)
class Clip:
    """A piece of one shot. keyframes: (seconds, picture), in order of time. continues: the shot of the clip before."""

    start_s: float
    end_s: float
    keyframes: tuple[tuple[float, Frame], ...]
    continues: bool = False


def mark_shots(looks: Iterable[Look], min_shot_s: float, *, sparse: bool = False) -> Iterator[tuple[Look, bool]]:
    """Each look, and whether a new shot begins with it.

    PySceneDetect's adaptive detector is fed directly: its manager would decode the video a second time. It reports a
    cut two frames late, so as many looks are held back. sparse: looks are seconds apart, so that a cut cannot be told
    by how much more changes at it than around it.
    """
    detector = (ContentDetector if sparse else AdaptiveDetector)(min_scene_len=float(min_shot_s))
    waiting: deque[Look] = deque()
    cuts: set[int] = set()
    for look in looks:
        waiting.append(look)
        cuts.update(cut.pts for cut in detector.process_frame(_timecode(look), look.thumbnail))
        if len(waiting) > detector.event_buffer_length:
            yield waiting[0], _ticks(waiting.popleft()) in cuts
    for look in waiting:
        yield look, _ticks(look) in cuts


@dataclass(slots=True)
class _Slot:
    """The sharpest picture of a short stretch that begins at start_s."""

    start_s: float
    time_s: float
    sharpness: float
    picture: Frame


class ClipBuilder:
    """Collects the looks of one shot after the other and gives clips back as soon as they are certain.

    It holds the slots of two clips of the longest length at most: about 40 small pictures with the defaults.
    """

    def __init__(self, max_clip_s: float, keyframes: int) -> None:
        self._max_clip_s = max_clip_s
        self._keyframes = keyframes
        self._slots: list[_Slot] = []
        self._continues = False

    def add(self, look: Look) -> Iterator[Clip]:
        """Take the next look of the shot; yields the beginning of a shot that grew too long."""
        sharpness = _sharpness(look.thumbnail)
        slot = self._slots[-1] if self._slots else None
        if slot is None or look.time_s >= slot.start_s + SLOT_S:
            self._slots.append(_Slot(look.time_s, look.time_s, sharpness, look.picture()))
        elif sharpness > slot.sharpness * _SHARPER:
            slot.time_s, slot.sharpness, slot.picture = look.time_s, sharpness, look.picture()
        if look.time_s >= self._slots[0].start_s + 2 * self._max_clip_s:
            yield self._cut(self._slots[0].start_s + self._max_clip_s)

    def finish(self, end_s: float) -> Iterator[Clip]:
        """End the shot; yields what is left of it, in equal parts if too long for one clip."""
        if self._slots:
            length = end_s - self._slots[0].start_s
            part_s = length / max(1, math.ceil(length / self._max_clip_s))
            while len(self._slots) > 1 and end_s - self._slots[0].start_s > part_s + SLOT_S:
                yield self._cut(self._slots[0].start_s + part_s)
            yield self._clip(self._slots, end_s)
            self._slots, self._continues = [], False

    def _cut(self, at_s: float) -> Clip:
        """The slots before at_s as a clip. A still that lasts longer than a clip may keeps its one clip."""
        index = next((i for i, slot in enumerate(self._slots) if i and slot.start_s >= at_s), len(self._slots) - 1)
        head, self._slots = self._slots[:index], self._slots[index:]
        clip = self._clip(head, self._slots[0].start_s)
        self._continues = True
        return clip

    def _clip(self, slots: Sequence[_Slot], end_s: float) -> Clip:
        start_s = slots[0].start_s
        return Clip(start_s, end_s, tuple(_choose(slots, start_s, end_s, self._keyframes)), self._continues)


def _choose(slots: Sequence[_Slot], start_s: float, end_s: float, most: int) -> Iterator[tuple[float, Frame]]:
    """The slots nearest to evenly spread times: one picture for about three seconds, at least one."""
    count = min(most, len(slots), max(1, math.ceil((end_s - start_s) / 3)))
    step_s = (end_s - start_s) / count
    aims = [start_s + (i + 0.5) * step_s for i in range(count)]
    chosen = {min(range(len(slots)), key=lambda i: abs(slots[i].time_s - aim)) for aim in aims}
    for i in sorted(chosen):
        yield slots[i].time_s, slots[i].picture


def _sharpness(thumbnail: np.ndarray) -> float:
    """Mean squared difference of neighbouring pixels of the green channel: low where motion or focus blurs."""
    green = thumbnail[:, :, 1].astype(np.float32)
    return float(np.mean(np.diff(green, axis=0) ** 2) + np.mean(np.diff(green, axis=1) ** 2))


def _ticks(look: Look) -> int:
    return round(look.time_s * _CLOCK_HZ)


def _timecode(look: Look) -> FrameTimecode:
    """Times are exact; the rate, which need not be constant, is only PySceneDetect's unit for comparing lengths."""
    return FrameTimecode(Timecode(pts=_ticks(look), time_base=Fraction(1, _CLOCK_HZ)), fps=1000.0)
