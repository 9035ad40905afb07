"""One small index for both plug-ins: images, a text, and a video of five shots."""

import asyncio
import threading
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from tests.databases import new_database
from tests.retrievers.untrained import save_untrained

SHOTS = ("red", "green", "blue", "yellow", "purple")
IMAGES = (("red",), ("blue",), ("green", "green", "yellow"))


def draw_video(path, colors, seconds=2, fps=10, size_px=96):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width = stream.height = size_px
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, fps)
        for color in colors:
            for _ in range(seconds * fps):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(color_frame(color, size_px=size_px))))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus")
    for colors in IMAGES:
        Image.fromarray(color_frame(*colors)).save(path / f"{'-'.join(colors)}.png")
    (path / "notes.txt").write_text("The red bus leaves at nine.\n")
    draw_video(path / "walk.mp4", SHOTS)
    return path


@pytest.fixture(scope="session")
def rag(folder, tmp_path_factory):
    embedder = ColorEmbedder()
    with (
        new_database(tmp_path_factory.mktemp("db")) as uri,
        FlorenceRAG(MilvusIndex.open(uri, embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag,
    ):
        assert rag.add(folder).failed == ()
        yield rag


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """The folder of a model."""
    path = tmp_path_factory.mktemp("model")
    save_untrained(path)
    return str(path)


class Gate:
    """Holds worker threads until the event loop opens it; a call that blocks the event loop times out."""

    def __init__(self):
        self._open = threading.Event()

    def wait(self):
        assert self._open.wait(timeout=10), "the event loop was blocked"

    async def open_while(self, awaitable):
        task = asyncio.ensure_future(awaitable)
        await asyncio.sleep(0.05)
        assert not task.done()
        self._open.set()
        return await task


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def slow_rag(rag, gate, monkeypatch):
    """The index, with every call held at the gate."""
    for name in ("search", "ask_image"):
        method = getattr(rag, name)

        def held(*args, _method=method, **options):
            gate.wait()
            return _method(*args, **options)

        monkeypatch.setattr(rag, name, held)
    return rag


@pytest.fixture
def slow_embedder(gate):
    class SlowEmbedder(ColorEmbedder):
        def embed_texts(self, texts):
            gate.wait()
            return super().embed_texts(texts)

        def embed_images(self, frames):
            gate.wait()
            return super().embed_images(frames)

    return SlowEmbedder()


@pytest.fixture(scope="session")
def blue_vector():
    return ColorEmbedder().embed_texts(["blue"])[0].astype(np.float64).tolist()


@pytest.fixture
def three_colors(tmp_path):
    """Red, blue and green images in an index of their own, in memory."""
    for color in ("red", "blue", "green"):
        Image.fromarray(color_frame(color)).save(tmp_path / f"{color}.png")
    embedder = ColorEmbedder()
    with FlorenceRAG(MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA())) as rag:
        rag.add(tmp_path)
        yield rag
