"""An image that keeps a decoder busy for hours ends in time, whichever way it reaches the library."""

import base64
import io
import os
from dataclasses import dataclass

import pytest
from PIL import Image

from florence_rag import FlorenceRAG
from florence_rag.chunking import read_image
from florence_rag.context import Models
from florence_rag.errors import BatchError, MediaError, TimeLimitError
from florence_rag.sources import limited
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex
from florence_rag.tools import AskImage
from florence_rag.workers import Limits
from tests.sources.io.makers import png


def slow_image():
    """Return a small JPEG whose many directories of EXIF take Pillow quadratic time."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48)).save(file, "JPEG")
    directory = b"Exif\0\0II*\0\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(directory) + 2).to_bytes(2, "big") + directory
    return file.getvalue()[:2] + segment * 600_000 + file.getvalue()[2:]


@pytest.fixture(scope="module")
def slow():
    return slow_image()


@pytest.fixture
def rag(tmp_path):
    embedder = ColorEmbedder()
    with FlorenceRAG(
        MemoryIndex(embedder.info), Models.of(embedder, vqa=ColorVQA()), images=tmp_path / "images"
    ) as rag:
        yield rag


@pytest.fixture
def short_limit(monkeypatch):
    read_image(png("red"))  # a worker imports the decoders
    monkeypatch.setattr(limited, "READ_LIMITS", Limits(seconds=0.5))


WAYS = {
    "search": lambda rag, image: rag.search(image=image),
    "ask_image": lambda rag, image: rag.ask_image(image, "What color?"),
    "tool": lambda rag, image: AskImage(rag)._resolve(image),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_slow_image_of_a_query_is_an_error_in_time(rag, slow, short_limit, way):
    with pytest.raises(TimeLimitError, match=r"^the given image: .* longer than the limit of 0\.5 s$"):
        WAYS[way](rag, slow)


def test_a_slow_image_among_items_costs_only_itself(rag, slow, short_limit):
    with pytest.raises(BatchError) as error:
        rag.items.upsert_images([png("red"), png("blue"), slow], ids=["a", "b", "c"])
    assert rag.items.ids() == ["a", "b"] and "longer than the limit" in str(error.value)


def test_a_file_that_became_slow_is_an_error_in_time_when_its_hit_is_shown(rag, slow, short_limit, tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48), "red").save(path)
    rag.items.upsert_images([path], ids=["a"])
    path.write_bytes(slow)
    (hit,) = rag.get(["a"])
    with pytest.raises(TimeLimitError, match=r"a\.jpg': reading it takes longer than the limit of 0\.5 s"):
        rag.frames(hit)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_at_once(rag, tmp_path):
    pipe = tmp_path / "a.png"
    os.mkfifo(pipe)
    with pytest.raises(MediaError, match="is not a regular file"):
        read_image(pipe)
    with pytest.raises(MediaError, match="is not a regular file"):
        rag.items.upsert_images([pipe])


@dataclass
class Place:
    """A path object of another library."""

    path: object

    def __fspath__(self):
        return str(self.path)


FORMS = {
    "bytearray": bytearray,
    "memoryview": memoryview,
    "part of a buffer": lambda data: memoryview(b"__" + data + b"__")[2:-2],
    "data URI": lambda data: "data:image/png;base64," + base64.b64encode(data).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_buffer_is_an_image(rag, form):
    image = FORMS[form](png("red"))
    rag.items.upsert_images([image, png("blue")], ids=["a", "b"])
    assert [hit.id for hit in rag.search(image=image, k=1)] == ["a"]


def test_any_path_object_is_a_path(rag, tmp_path):
    (tmp_path / "red.png").write_bytes(png("red"))
    place = Place(tmp_path / "red.png")
    rag.items.upsert_images([place], ids=["a"])
    assert rag.add(place).added == rag.add(listed=[Place(tmp_path)]).unchanged == 1
    assert {hit.source for hit in rag.search(image=place)} == {str(tmp_path / "red.png")}
