"""A kill in the middle of a long video: the next run gives what an uninterrupted one gives. Three real processes."""

import subprocess
import sys
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import COLORS, ColorEmbedder, color_frame

PROGRAM = Path(__file__).with_name("color_program.py")
SHOTS = 140


@pytest.fixture
def video(tmp_path) -> Path:
    """Shots of 1.2 seconds, so several batches of clips."""
    path = tmp_path / "long.mp4"
    pairs = [(first, second) for first in COLORS for second in COLORS if first != second]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for shot in range(SHOTS):
            pixels = np.ascontiguousarray(color_frame(*pairs[shot * 7 % len(pairs)], size_px=64))
            for _ in range(6):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def index(video: Path, db: Path, kill_at_batch: int | None = None) -> int:
    """How many batches were embedded until it ended, or was killed."""
    batches = 0
    command = [sys.executable, str(PROGRAM), "index", str(video), "--db", str(db)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            batches += line == "embedding\n"
            if batches == kill_at_batch:
                process.kill()
    assert process.returncode == (-9 if kill_at_batch else 0)
    return batches


def rows(db: Path) -> dict[str, tuple[object, ...]]:
    with MilvusIndex.open(str(db), ColorEmbedder.info, create=False) as index:
        assert index.info().incomplete == ()
        hits = {hit.id: hit for hit in index.find()}
        vectors = index.vectors(list(hits))
        return {id: (hit, *vector.round(6)) for (id, hit), vector in zip(hits.items(), vectors, strict=True)}


@pytest.mark.slow
def test_a_second_run_after_a_kill_equals_an_uninterrupted_one(video, tmp_path):
    whole = threading.Thread(target=index, args=(video, tmp_path / "whole.db"))  # meanwhile
    whole.start()
    cut = tmp_path / "cut.db"
    index(video, cut, kill_at_batch=3)
    with MilvusIndex.open(str(cut), ColorEmbedder.info) as left:
        assert left.sources() == {}  # a part of a video is none
    assert index(video, cut) > 3
    whole.join()
    wanted = rows(tmp_path / "whole.db")
    assert len(wanted) >= SHOTS * 0.9
    assert rows(cut) == wanted
