"""How fast a video is cut into clips when every frame is looked at, and when only key frames are: make bench.

    python benchmarks/video.py --seconds 60

The video is drawn: shots of 5 s in 1280x720 at 25 frames a second, in H.264 with a key frame at every cut and at least
every ten seconds, as encoders do by themselves; telephones write one a second, which gains less. The aim: key frames
alone at least 5 times as fast as every frame.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated

import av
import numpy as np
import typer
from PIL import Image

from florence_rag.chunking import ChunkingConfig, chunk
from florence_rag.sources import discover
from florence_rag.types import Source

RATE = 25
SIZE = (1280, 720)
SHOT_S = 5


def save_video(path: Path, seconds: int) -> None:
    """A camera with its noise pans slowly over smooth shapes, other ones in every shot."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 10 * RATE  # as x264 does by itself
        for number in range(seconds * RATE):
            if number % (SHOT_S * RATE) == 0:
                coarse = Image.fromarray(random.integers(0, 256, (40, 72, 3), dtype=np.uint8))
                scene = np.asarray(coarse.resize((SIZE[0] + SHOT_S * RATE, SIZE[1]), Image.Resampling.BICUBIC))
            left = number % (SHOT_S * RATE)
            grain = random.normal(0, 4, (SIZE[1], SIZE[0], 1))
            view = (scene[:, left : left + SIZE[0]] + grain).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(view, format="rgb24")))
        container.mux(stream.encode(None))


def cut(path: Path, config: ChunkingConfig) -> tuple[int, float]:
    """How many clips there are, and the seconds it took to find them."""
    (source,) = (found for found in discover([path]) if isinstance(found, Source))
    started = time.perf_counter()
    return sum(1 for _ in chunk(source, config)), time.perf_counter() - started


def main(
    seconds: Annotated[int, typer.Option(min=SHOT_S, help="Of video.")] = 60,
    passes: Annotated[int, typer.Option(min=1, help="Of each kind, in turns; the best counts.")] = 3,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures here.")] = None,
) -> None:
    """Cut one video both ways."""
    configs = {"every frame": ChunkingConfig(), "key frames": ChunkingConfig(video_frames="key")}
    best: dict[str, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "video.mp4"
        save_video(path, seconds)
        for _ in range(passes):
            for name, config in configs.items():
                clips, took_s = cut(path, config)
                best[name] = min(best.get(name, (took_s, clips)), (took_s, clips))
    print(f"{seconds} s of {SIZE[0]}x{SIZE[1]} at {RATE} frames/s")
    for name, (took_s, clips) in best.items():
        print(f"{name:12}{took_s:8.2f} s  {seconds / took_s:8.1f} times as fast as it plays, {clips} clips")
    ratio = best["every frame"][0] / best["key frames"][0]
    print(f"key frames are {ratio:.1f} times as fast as every frame (aim: 5)")
    if output:
        output.write_text(
            json.dumps({"seconds": seconds, "took_s": {k: v[0] for k, v in best.items()}, "ratio": ratio})
        )


if __name__ == "__main__":
    typer.run(main)
