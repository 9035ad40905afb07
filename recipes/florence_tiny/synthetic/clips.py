"""Short films of the drawn street: a few shots, in each of which something may pass by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image

from recipes.florence_tiny.synthetic.canvas import WIDTH
from recipes.florence_tiny.synthetic.drawing import OUTLINE_WIDTH, MovingObject, draw_frames
from recipes.florence_tiny.synthetic.scene import Scene
from recipes.florence_tiny.synthetic.shapes import SHAPES

ENCODING = {"crf": "20", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
"""One thread, and no macroblock tree: x264's reads memory that it has not written, so equal films got unequal bytes."""


@dataclass(frozen=True, slots=True)
class Motion:
    """What passes, from one edge of the picture to the other in the time of the shot."""

    category: str
    color: str
    heading: Literal["left", "right"] = "right"

    def at(self, progress: float) -> MovingObject:
        """Where it is at 0 (start of the shot) to 1 (end): wholly outside the picture at both."""
        margin = (SHAPES[self.category].width / 2 + OUTLINE_WIDTH) / WIDTH
        x = progress * (1 + 2 * margin) - margin
        return MovingObject(self.category, self.color, self.heading, x if self.heading == "right" else 1 - x)


@dataclass(frozen=True, slots=True)
class Shot:
    """One scene seen by a camera at rest for so many seconds."""

    scene: Scene
    seconds: float
    motion: Motion | None = None


def draw_clip(shots: Sequence[Shot], fps: int = 12, size: tuple[int, int] = (480, 360)) -> Iterator[Image.Image]:
    """The frames of all shots, one after the other."""
    for shot in shots:
        count = round(shot.seconds * fps)
        moving_objects = (shot.motion.at(index / max(count - 1, 1)) if shot.motion else None for index in range(count))
        yield from draw_frames(shot.scene, size, moving_objects)


def write_clip(path: Path, shots: Sequence[Shot], fps: int = 12, size: tuple[int, int] = (480, 360)) -> None:
    """H.264 in an MP4 file. The same shots give the same bytes under the same version of the encoder."""
    write_mp4(path, draw_clip(shots, fps, size), fps, size)


def write_mp4(path: Path, images: Iterable[Image.Image], fps: int, size: tuple[int, int]) -> None:
    """The same of pictures of this size, whatever they show."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=ENCODING)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode())


@dataclass(frozen=True, slots=True)
class Subtitle:
    """Words spoken from start_s to end_s."""

    start_s: float
    end_s: float
    text: str


def write_srt(path: Path, subtitles: Sequence[Subtitle]) -> None:
    """SubRip subtitles."""
    blocks = (
        f"{number}\n{_timestamp(line.start_s)} --> {_timestamp(line.end_s)}\n{line.text}\n"
        for number, line in enumerate(subtitles, 1)
    )
    path.write_text("\n".join(blocks), encoding="utf-8")


def _timestamp(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02},{rest % 1000:03}"
