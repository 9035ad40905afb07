"""Short videos of synthetic scenes: a few shots, in each of which an object may pass by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image
from pysubs2 import SSAEvent, SSAFile

from recipes.florence_tiny.synthetic.canvas import WIDTH
from recipes.florence_tiny.synthetic.drawing import OUTLINE_WIDTH, MovingObject, draw_frames
from recipes.florence_tiny.synthetic.scene import Scene
from recipes.florence_tiny.synthetic.shapes import SHAPES

ENCODING = {"crf": "20", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
"""One thread and no macroblock tree, which reads uninitialized memory in x264: equal frames give equal bytes."""


@dataclass(frozen=True, slots=True)
class Motion:
    """An object that passes from one edge of the image to the other during a shot."""

    category: str
    color: str
    heading: Literal["left", "right"] = "right"

    def at(self, progress: float) -> MovingObject:
        """Return the object at a progress from 0 (start of the shot) to 1 (end); at both it is outside the image."""
        margin = (SHAPES[self.category].width / 2 + OUTLINE_WIDTH) / WIDTH
        x = progress * (1 + 2 * margin) - margin
        return MovingObject(self.category, self.color, self.heading, x if self.heading == "right" else 1 - x)


@dataclass(frozen=True, slots=True)
class Shot:
    """A scene that a camera at rest records for a number of seconds."""

    scene: Scene
    seconds: float
    motion: Motion | None = None


def draw_clip(shots: Sequence[Shot], fps: int = 12, size: tuple[int, int] = (480, 360)) -> Iterator[Image.Image]:
    """Yield the frames of all shots."""
    for shot in shots:
        count = round(shot.seconds * fps)
        moving_objects = (shot.motion.at(index / max(count - 1, 1)) if shot.motion else None for index in range(count))
        yield from draw_frames(shot.scene, size, moving_objects)


def write_clip(path: Path, shots: Sequence[Shot], fps: int = 12, size: tuple[int, int] = (480, 360)) -> None:
    """Write shots as H.264 in an MP4 file; one version of the encoder writes equal bytes for equal shots."""
    write_mp4(path, draw_clip(shots, fps, size), fps, size)


def write_mp4(path: Path, images: Iterable[Image.Image], fps: int, size: tuple[int, int]) -> None:
    """Write images of this size as H.264 in an MP4 file."""
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=ENCODING)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode())


@dataclass(frozen=True, slots=True)
class Subtitle:
    """A text that is spoken from start_s to end_s."""

    start_s: float
    end_s: float
    text: str


def write_srt(path: Path, subtitles: Sequence[Subtitle]) -> None:
    """Write subtitles as a SubRip file."""
    events = [
        SSAEvent(start=round(line.start_s * 1000), end=round(line.end_s * 1000), text=line.text) for line in subtitles
    ]
    file = SSAFile()
    file.events = events
    path.write_text(file.to_string("srt").rstrip() + "\n", encoding="utf-8")
