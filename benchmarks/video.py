"""Speed of cutting a video into clips with every frame, and with key frames only: make bench.

    python benchmarks/video.py --seconds 60

The video is synthetic: shots of 5 s in 1280x720 at 25 frames per second, in H.264 with a key frame at every cut and at
least every ten seconds, as encoders do by default; phones write one per second, which saves less. The target: key
frames are at least 5 times as fast as all frames.
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
    """Write a video with camera noise that pans slowly over smooth shapes, which change in every shot."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = 10 * RATE  # The default of x264.
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
    """Return the number of clips, and the seconds to find them."""
    (source,) = (found for found in discover([path]) if isinstance(found, Source))
    started = time.perf_counter()
    return sum(1 for _ in chunk(source, config)), time.perf_counter() - started


def main(
    seconds: Annotated[int, typer.Option(min=SHOT_S, help="Length of the video.")] = 60,
    passes: Annotated[int, typer.Option(min=1, help="Runs per setting, in turns; the best counts.")] = 3,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the metrics here.")] = None,
) -> None:
    """Cut one video with both settings, and print the speeds."""
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
        print(f"{name:12}{took_s:8.2f} s  {seconds / took_s:8.1f} times real time, {clips} clips")
    ratio = best["every frame"][0] / best["key frames"][0]
    print(f"key frames are {ratio:.1f} times as fast as every frame (target: 5)")
    if output:
        output.write_text(
            json.dumps({"seconds": seconds, "took_s": {k: v[0] for k, v in best.items()}, "ratio": ratio})
        )


if __name__ == "__main__":
    typer.run(main)
