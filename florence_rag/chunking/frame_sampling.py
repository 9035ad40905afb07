"""The pictures of a stretch of a video at even times, close enough together to see what moves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from av.video.frame import VideoFrame

from florence_rag.chunking.video import _open_video
from florence_rag.sources.io import open_uri
from florence_rag.types import Frame

SIDE_PX = 224


def length_s(path: str) -> float:
    """How long a video is, in seconds: as it says itself, or counted where it does not, as a WebM that was streamed."""
    with open_uri(path) as file, _open_video(file, path) as video:
        if told := video.metadata().get("duration_s"):
            return float(told)
        for _ in video.frames():
            pass
        return video.end_s


def read_motion(
    path: str, start_s: float, end_s: float, rate_hz: float, max_side_px: int = SIDE_PX
) -> Iterator[tuple[float, float, Frame]]:
    """(seconds, seconds of the frame, picture): rate_hz in a second, each the frame that is shown at its time; at least
    one, unless the video ends before the stretch.

    Each time is the middle of a part of the stretch. Only one picture is held. Raises MediaError and InputError as
    `chunk` does.
    """
    count = max(1, round((end_s - start_s) * rate_hz))
    part_s = (end_s - start_s) / count
    due = deque(round(start_s + (i + 0.5) * part_s, 3) for i in range(count))
    shown: tuple[float, VideoFrame] | None = None
    with open_uri(path) as file, _open_video(file, path) as video:
        video.jump(start_s)
        for time_s, frame in video.frames():
            while due and shown is not None and time_s > due[0]:
                yield due.popleft(), shown[0], video.picture(shown[1], max_side_px)
            if not due:
                return
            shown = time_s, frame
        while due and shown is not None:
            yield due.popleft(), shown[0], video.picture(shown[1], max_side_px)
