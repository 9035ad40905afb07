"""Reads the frames of a labeled video clip at even times."""

from __future__ import annotations

from collections.abc import Iterator

from florence_rag.chunking.frame_sampling import length_s, read_motion
from florence_rag.datasets.videos import VideoClip
from florence_rag.errors import InputError
from florence_rag.types import Frame

_MAX_GAP_S = 1.0


def clip_frames(clip: VideoClip, rate_hz: float, max_frames: int | None = None) -> Iterator[Frame]:
    """Yield the frames of a clip at even times.

    Args:
        clip: The clip.
        rate_hz: The number of frames of a second.
        max_frames: The largest number of frames; a longer clip has fewer frames of a second.

    Raises:
        InputError: The file is missing, is not a video, or ends before the clip starts.
    """
    if not clip.path.is_file():
        raise InputError("there is no such video")
    end_s = length_s(str(clip.path)) if clip.end_s is None else clip.end_s
    if max_frames is not None:
        rate_hz = min(rate_hz, max_frames / (end_s - clip.start_s))
    last_s = float("-inf")
    for _, frame_s, frame in read_motion(str(clip.path), clip.start_s, end_s, rate_hz):
        last_s = frame_s
        yield frame
    # A video that ends before the clip starts shows its last frame at all times of the clip.
    if last_s < clip.start_s - _MAX_GAP_S:
        raise InputError(f"{str(clip.path)!r} ends before {clip.start_s:g} s")
