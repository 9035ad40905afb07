"""How long short searches take while other threads run the longest calls that are allowed.

    python benchmarks/reliability/fairness.py --rows 25000

One thread repeats a short search, first alone, then during one long call after the other: large filters, filters that
the store cannot evaluate, the largest k, long queries and texts, a large image, and a read of all rows. The last line
runs all of them at once, while a third thread writes. A short search fails if it takes longer than the median of those
alone by more than `--limit-s` for each call that runs.
"""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from workload import Result

from florence_rag import FlorenceRAG
from florence_rag.index.milvus import MilvusIndex
from florence_rag.retrieval.request import MAX_COUNT
from florence_rag.testing import ColorEmbedder
from florence_rag.types import Chunk, EmbedderInfo, Frame, Source

DIMENSION = 128
WORDS = [f"word{number}" for number in range(5_000)]
ROWS_PER_SOURCE = 500
MIN_SEARCHES = 20
LONG_TERM, LONG_TEXTS, LONG_WORDS = "colossal", 20, 6_500
"""A word of the longest texts, which have nearly the most bytes of one text."""


class RandomEmbedder(ColorEmbedder):
    """Returns a random unit vector for any text."""

    info = EmbedderInfo("random", "0", DIMENSION, "none")

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, DIMENSION) float32."""
        return unit(len(texts), 0)

    def embed_images(self, images: Sequence[Frame]) -> np.ndarray:
        """Return (N, DIMENSION) float32."""
        return unit(len(images), 1)


def unit(rows: int, seed: int) -> np.ndarray:
    """Return random unit vectors, (rows, DIMENSION) float32."""
    vectors = np.random.default_rng(seed).standard_normal((rows, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def fill(index: MilvusIndex, rows: int) -> None:
    """Store texts of twelve words, with a name, a number and a list as metadata."""
    pick = np.random.default_rng(0)
    for first in range(0, rows, ROWS_PER_SOURCE):
        source = Source(f"/texts/{first}", "text", 1, 1, str(first))
        texts = [" ".join(pick.choice(WORDS, 12)) for _ in range(ROWS_PER_SOURCE)]
        index.begin(source)
        chunks = [_chunk(source, first + i, text) for i, text in enumerate(texts)]
        index.add(chunks, unit(len(chunks), first))
        index.complete(source)
    source = Source("/texts/long", "text", 1, 1, "long")
    index.begin(source)
    others = [f"other{number}" for number in range(5_000)]  # so that short searches find no long texts
    texts = [" ".join([LONG_TERM, *pick.choice(others, LONG_WORDS)]) for _ in range(LONG_TEXTS)]
    index.add([_chunk(source, rows + i, text) for i, text in enumerate(texts)], unit(LONG_TEXTS, rows))
    index.complete(source)
    index.flush()


def large_image() -> bytes:
    """Return a PNG of 50 megapixels."""
    file = io.BytesIO()
    Image.new("RGB", (10_000, 5_000), "red").save(file, "PNG")
    return file.getvalue()


def _chunk(source: Source, number: int, text: str) -> Chunk:
    metadata = {"name": f"n{number}", "number": number, "tags": ["a", "b"]}
    return Chunk(source, "text", text=text, metadata=metadata, custom_id=f"i{number}")


def long_calls(rag: FlorenceRAG) -> Mapping[str, Callable[[], object]]:
    """Return the longest calls that the limits of arguments allow."""
    search, query, image = rag.search, WORDS[0], large_image()
    return {
        "filter with 100 values": lambda: search(query, filter={"name": [f"n{i}" for i in range(100)]}),
        "filter with 9,999 values": lambda: search(query, filter={"name": [f"n{i}" for i in range(9_999)]}),
        "list with 100 values": lambda: search(query, filter={"tags": {"$any": [f"t{i}" for i in range(100)]}}),
        "filter decided in Python": lambda: search(query, filter={"name": {"$icontains": "nowhere"}}),
        "largest k": lambda: search(query, k=MAX_COUNT),
        "5,000 terms": lambda: search(" ".join(WORDS)),
        "long texts": lambda: search(" ".join([LONG_TERM, *WORDS[:500]]), k=LONG_TEXTS),
        "image of 50 megapixels": lambda: search(image=image),
        "mmr of 1,000": lambda: rag.retriever.search_mmr(unit(1, 1)[0], 20, fetch_k=1_000),
        "all rows": lambda: sum(1 for _ in rag.index.find()),
    }


@contextmanager
def short_searches(rag: FlorenceRAG) -> Iterator[list[float]]:
    """Search in a thread until the block ends; the list holds the seconds of each search."""
    seconds: list[float] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            started = time.perf_counter()
            rag.search("word1 word7")
            seconds.append(time.perf_counter() - started)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def searches_during(rag: FlorenceRAG, *calls: Callable[[], object]) -> tuple[list[float], float]:
    """Run the calls at once, and return the seconds of each short search in that time, and of the longest call."""
    threads = [threading.Thread(target=call) for call in calls]
    with short_searches(rag) as seconds:
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - started
        while len(seconds) < MIN_SEARCHES:
            time.sleep(0.01)
    return seconds, took


def write(rag: FlorenceRAG) -> None:
    """Store single texts."""
    for number in range(50):
        rag.items.upsert_texts([f"note {number}"], ids=[f"note{number}"])


def main(
    rows: Annotated[int, typer.Option(min=ROWS_PER_SOURCE, help="The size of the database.")] = 25_000,
    limit_s: Annotated[float, typer.Option(help="The longest delay of a short search by each call.")] = 1.0,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Print a table with one line for each long call."""
    with Result().reported(output) as result, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        embedder = RandomEmbedder()
        with FlorenceRAG(MilvusIndex.open(f"{folder}/a.db", embedder.info), embedder) as rag:
            fill(rag.index, rows)
            rag.search("word1")
            alone, _ = searches_during(rag)
            calls = long_calls(rag)
            runs = {name: [call] for name, call in calls.items()} | {
                "all, and writes": [*calls.values(), partial(write, rag)]
            }
            for name, some in runs.items():
                seconds, took = searches_during(rag, *some)
                allowed = np.median(alone) + limit_s * len(some)
                line = f"short search during: {name}"
                result.add(line, [f"{each:.2f} s" for each in seconds if each > allowed], tried=len(seconds))
                p50, p99 = np.percentile(seconds, (50, 99))
                result.notes[line] = (
                    f"p50 {p50:.2f} s, p99 {p99:.2f} s, max {max(seconds):.2f} s; the call {took:.1f} s"
                )
                print(f"{line}: {result.notes[line]}", flush=True)


if __name__ == "__main__":
    typer.run(main)
