"""Samples the frames of a part of a video at even times, close enough together to recognize motion."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from av.video.frame import VideoFrame

from florence_rag.chunking.video import open_video
from florence_rag.sources.io import open_uri
from florence_rag.types import Frame

SIDE_PX = 224


def video_duration_s(path: str) -> float:
    """Return the duration of a video in seconds; decode a video that does not declare it, such as a streamed WebM."""
    with open_uri(path) as file, open_video(file, path) as video:
        if duration_s := video.metadata().get("duration_s"):
            return float(duration_s)
        for _ in video.frames():
            pass
        return video.end_s


def sample_frames(
    path: str, start_s: float, end_s: float, rate_hz: float, max_side_px: int = SIDE_PX
) -> Iterator[tuple[float, float, Frame]]:
    """Sample rate_hz frames per second from start_s to end_s, at least one, with one frame in memory.

    The interval is cut into equal parts. Each part yields the time of its middle, the time of the frame that the video
    shows then, and this frame, (H, W, 3) uint8 RGB. A video that ends before the interval yields nothing. Errors are
    those of `chunk`.
    """
    count = max(1, round((end_s - start_s) * rate_hz))
    part_s = (end_s - start_s) / count
    due_s = deque(round(start_s + (i + 0.5) * part_s, 3) for i in range(count))
    shown: tuple[float, VideoFrame] | None = None
    with open_uri(path) as file, open_video(file, path) as video:
        video.seek(start_s)
        for time_s, frame in video.frames():
            while due_s and shown is not None and time_s > due_s[0]:
                yield due_s.popleft(), shown[0], video.to_frame(shown[1], max_side_px)
            if not due_s:
                return
            shown = time_s, frame
        while due_s and shown is not None:
            yield due_s.popleft(), shown[0], video.to_frame(shown[1], max_side_px)
