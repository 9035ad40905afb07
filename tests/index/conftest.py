from collections.abc import Callable, Iterator

import numpy as np
import pytest

from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

DIMENSION = 8


@pytest.fixture
def embedder() -> EmbedderInfo:
    return EmbedderInfo("colors", "0123456789abcdef", DIMENSION, "48 px")


@pytest.fixture
def open_index(db: str, embedder: EmbedderInfo) -> Iterator[Callable[..., MilvusIndex]]:
    """Opens the test's database, and closes it in the end."""
    opened: list[MilvusIndex] = []

    def open_it(**options) -> MilvusIndex:
        opened.append(MilvusIndex.open(**{"uri": db, "embedder": embedder} | options))
        return opened[-1]

    yield open_it
    for index in opened:
        index.chunks.connection.close()


@pytest.fixture
def index(open_index: Callable[..., MilvusIndex]) -> MilvusIndex:
    return open_index()


@pytest.fixture
def source() -> Callable[..., Source]:
    def make(uri: str = "/photos/a.jpg", version: int = 1, media: str = "image") -> Source:
        return Source(uri, media, 100 + version, 1_000 + version, f"hash{version}")

    return make


@pytest.fixture
def chunks() -> Callable[..., list[Chunk]]:
    """Makes n text chunks of a source, which differ by their locators."""

    def make(source: Source, n: int = 1, **rest) -> list[Chunk]:
        return [Chunk(source, "text", Locator(span=(i, i + 1)), **({"text": f"passage {i}"} | rest)) for i in range(n)]

    return make


@pytest.fixture
def unit() -> Callable[..., np.ndarray]:
    """Makes n different unit vectors, the same in every run."""

    def make(n: int = 1, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
        vectors = np.random.default_rng(seed).normal(size=(n, dimension))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return make


@pytest.fixture
def put(source, chunks, unit) -> Callable[..., Source]:
    """Indexes one source completely."""

    def put_one(index: MilvusIndex, uri: str = "/photos/a.jpg", n: int = 1, version: int = 1, **rest) -> Source:
        one = source(uri, version)
        index.begin(one)
        index.add(chunks(one, n, **rest), unit(n, seed=len(uri) + version))
        index.complete(one)
        return one

    return put_one


@pytest.fixture
def street(index, unit) -> list[Chunk]:
    """Indexes one chunk of each kind; the vectors are the first unit axes."""
    photo, video, paper = (
        Source("/p/car.jpg", "image", 1, 1, "p"),
        Source("/p/ride.mp4", "video", 1, 1, "v"),
        Source("/p/paper.pdf", "pdf", 1, 1, "d"),
    )
    made = [
        Chunk(photo, "image", caption="a red car next to a hydrant", metadata={"city": "Rome", "width": 640}),
        Chunk(video, "clip", Locator(start_s=2.5, end_s=7.25), "we drive a car", metadata={"keyframes_s": [3.0, 5.5]}),
        Chunk(paper, "page", Locator(page=2, box=(0.0, 0.25, 1.0, 0.5)), "attention", ocr="夜景 J.P.Morgan"),
        Chunk(paper, "text", Locator(page=2, span=(0, 9)), "attention is all you need"),
    ]
    for each in (photo, video, paper):
        index.begin(each)
    index.add(made, np.eye(8, dtype=np.float32)[:4])
    for each in (photo, video, paper):
        index.complete(each)
    return made
