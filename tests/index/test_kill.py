"""Tests of `kill -9` at random moments of a process that adds, updates, deletes, fails and discards sources."""

import os
import random
import subprocess
import sys
import time

import pytest

from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

SOURCES = 150
EMBEDDER = EmbedderInfo("colors", "0123456789abcdef", 8, "48 px")

RUN = """
import sys
import numpy as np
from florence_rag.index import writer
from florence_rag.index.lite.profile import LiteProfile
from florence_rag.index.milvus import MilvusIndex
sys.path.insert(0, sys.argv[1])
import test_kill as plan

writer.BUFFER_ROWS, LiteProfile.flush_rows = 20, 60  # more of what a kill can hit
generator = np.random.default_rng(0)
with MilvusIndex.open(sys.argv[2], plan.EMBEDDER, index_type=sys.argv[4]) as index:
    print("open", flush=True)
    known = index.sources()
    for number in range(plan.SOURCES):
        source, chunks = plan.wanted(number, int(sys.argv[3]))
        if known.get(source.uri) == source:
            continue
        if number % 10 == 3:
            index.delete_sources([source.uri])
        if number % 10 == 4:
            index.fail(source.uri, "cannot be read yet")
        index.begin(source)
        vectors = generator.normal(size=(len(chunks), 8))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        if number % 10 == 5:
            index.add(chunks, vectors)
            index.flush_buffer()
            index.discard(source)
            index.begin(source)
        index.add(chunks[:2], vectors[:2])
        index.add(chunks[2:], vectors[2:])
        index.complete(source)
print("done", flush=True)
"""


def wanted(number: int, round: int) -> tuple[Source, list[Chunk]]:
    """Return the source of this number and its chunks; in every round some sources have changed."""
    version = round if number % 5 == round % 5 else 0
    source = Source(f"/photos/{number}.jpg", "image", 1, version, f"hash{version}")
    spans = range(1 + (number + version) % 6)
    return source, [Chunk(source, "text", Locator(span=(i, i + 1)), f"passage {i}") for i in spans]


def run(db: str, round: int, index_type: str, kill_after_s: float | None = None) -> None:
    """Run one index run in a process of its own, which must not warn."""
    command = [sys.executable, "-W", "error", "-c", RUN, os.path.dirname(__file__), db, str(round), index_type]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process.stdout:
        first = process.stdout.readline()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            process.kill()
        rest = process.stdout.read()
    code = process.wait()
    assert first == "open\n", first + rest
    if kill_after_s is None:
        assert (rest, code) == ("done\n", 0)
    else:
        assert rest in ("", "done\n")


def check(db: str, round: int) -> None:
    plans = [wanted(number, round) for number in range(SOURCES)]
    with MilvusIndex.open(db, EMBEDDER, create=False) as index:
        assert index.sources() == dict(sorted((source.uri, source) for source, _ in plans))
        assert index.failures() == ()
        ids = sorted(row["id"] for row in index.chunks.connection.rows("florence", ["id"]))
        assert ids == sorted(chunk.id for _, chunks in plans for chunk in chunks)
        assert len(index.search_bm25("passage", 500)) == 500 == len(index.get(ids[:500]))


@pytest.mark.parametrize("index_type", ["FLAT"])
def test_after_a_kill_the_next_run_completes_without_duplicates(db, index_type):
    moments = random.Random(7)
    for round in range(2):
        run(db, round, index_type, kill_after_s=moments.uniform(0.1, 1.0))
    run(db, 2, index_type)
    check(db, 2)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("index_type", ["FLAT", "HNSW"])
def test_after_many_kills_the_next_run_completes_without_duplicates(db, index_type, monkeypatch):
    # Less memory for rows makes Lite flush, compact and index more often.
    monkeypatch.setenv("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", "60000")
    moments = random.Random(11)
    for round in range(30):
        run(db, round, index_type, kill_after_s=moments.uniform(0.0, 1.5))
        if round % 10 == 9:
            run(db, round, index_type)
            check(db, round)
