"""A server over color doubles, and a client of it in this process."""

import asyncio
import copy
import io

import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra server")

import av
from starlette.testclient import TestClient

from florence_rag.context import Models
from florence_rag.rag import FlorenceRAG
from florence_rag.server.app import create_app
from florence_rag.server.config import ServerConfig
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame


def image_file(*colors, format="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(color_frame(*colors, size_px=64)).save(buffer, format)
    return buffer.getvalue()


def write_video(path, colors, seconds=2, codec="mpeg4"):
    """Write a shot of some seconds per color."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=8, width=64, height=64, pix_fmt="yuv420p")
        for color in colors:
            for _ in range(seconds * 8):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(color_frame(color, size_px=64))))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Three photos, a video and a text."""
    folder = tmp_path_factory.mktemp("corpus")
    for color in ("red", "blue", "green"):
        (folder / f"{color}.png").write_bytes(image_file(color))
    (folder / "note.txt").write_text("The night bus leaves the harbor at ten.")
    write_video(folder / "purple.mp4", ["purple"])
    return folder


@pytest.fixture(scope="session")
def indexed(corpus):
    index = MemoryIndex(ColorEmbedder.info)
    FlorenceRAG(index, Models.of(ColorEmbedder())).add(corpus)
    return index


@pytest.fixture(scope="session")
def reader(indexed, corpus):
    """A client of a server that no test changes."""
    rag = FlorenceRAG(indexed, Models.of(ColorEmbedder(), vqa=ColorVQA()))
    with TestClient(create_app(rag, ServerConfig(allowed_folders=(corpus,))), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def rag(indexed):
    """An index of the corpus, which a test may change."""
    return FlorenceRAG(copy.deepcopy(indexed), Models.of(ColorEmbedder(), vqa=ColorVQA()))


@pytest.fixture
def serve(rag, tmp_path):
    """Returns a client of a server with some settings."""
    clients = []

    def serve(**settings) -> TestClient:
        settings = {"upload_folder": tmp_path / "uploads", **settings}
        client = TestClient(create_app(rag, ServerConfig(**settings)), base_url="http://localhost")
        clients.append(client.__enter__())
        return client

    yield serve
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serve, corpus):
    return serve(allowed_folders=(corpus,))


def leave_in_the_middle(client, method, path, parts, has_received) -> list:
    """Send the parts of a request, leave when `has_received` is true of what was sent back, and return that.

    Without `has_received`, leave before the end of the request.
    """
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1),
        "http_version": "1.1", "root_path": "",
    }  # fmt: skip

    async def run() -> list:
        received, sent = asyncio.Event(), []
        messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        if has_received:
            messages[-1]["more_body"] = False
        waiting = iter(messages)

        async def receive():
            if message := next(waiting, None):
                return message
            if has_received:
                await received.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            if has_received and has_received(message):
                received.set()

        await client.app(scope, receive, send)
        return sent

    return asyncio.run(asyncio.wait_for(run(), 30))
