"""Build time, memory, latency and recall of each index type on a Milvus server; ours beside bare pymilvus in one run.

    python deploy/milvus_test_server.py .venv-milvus .venv/bin/python benchmarks/server_scale.py --sizes 10000
    python benchmarks/server_scale.py --table

The server is the one in FLORENCE_TEST_MILVUS, and its collections named scale and bare are replaced. Each result is
appended to a file of JSON lines and not measured again, so that a run can be interrupted. The rows have the schema of
florence_rag and the vectors of benchmarks/scale.py: one row in five is a text, and one in fifty is from one city. The
Milvus of the PyPI package is built without DISKANN, which is found out in a minute, so DISKANN must be named.

Both search for the same queries in turn, with the same parameters and output fields: ours through the retriever without
embedding. Both write the same rows in turn, every other time in the opposite order: ours with a ledger, from chunks;
bare pymilvus finished rows, without a ledger, and with finished records of one. The making of these rows is measured
alone. The processor time of the client is what other programs disturb least. NEW is the recall of new rows, before and
after the flush that ends a run.
Memory is that of the server's process with the collection loaded, and processor time (CPU, for a vector that is
indexed and for a search) is what it uses beyond that while it is idle, as the server reports both on port 9091.
The results also hold the bytes that it frees when the collection is released, `index_bytes`.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np
import typer
from pymilvus import MilvusClient
from scale import synthetic_vectors
from server_scale_tables import INDEXES, SEARCHES, Result, read_results, tables

from florence_rag.batching import batched
from florence_rag.context import Context, Models
from florence_rag.errors import FlorenceError
from florence_rag.image_store import ImageStore
from florence_rag.index.chunk_collection import ChunkCollection
from florence_rag.index.ledger import Entry
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import HIT_FIELDS, Row, chunk_to_row
from florence_rag.retrieval.retriever import Retriever
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

T = TypeVar("T")

DIMENSION, K, QUERIES, WARM_UP = 512, 10, 100, 5
SEARCHES_PER_SIDE = 400
"""How often each side searches, with the queries one after the other, so that medians differ less than the sides."""
EMBEDDER = EmbedderInfo("synthetic", "0", DIMENSION, "none")
BLOCK = 10_000
CITIES = 50
WRITTEN = 2_000
"""Rows that each side writes in turn."""
NEW = 6_000
"""Rows that are searched before and after they are flushed."""
PER_CALL, ADDED = 500, 100
"""Rows of one upsert of bare pymilvus, and of one `add` of ours."""
SETTLE_S = 10.0

RESTRICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "vector": ({}, ""),
    "kind": ({"kinds": {"image"}}, 'kind in ["image"]'),
    "metadata": ({"filter": {"metadata.city": "city 7"}}, 'metadata["city"] == "city 7"'),
}
"""What each search is restricted to, for ours and for bare pymilvus."""


def block_of(size: int, start: int) -> np.ndarray:
    """Return the vectors of the rows from `start` to `start + BLOCK` of a collection of this size."""
    return synthetic_vectors(min(BLOCK, size - start), DIMENSION, size // 100, 1 + start)


def chunk_of(number: int, per_source: int = 1) -> Chunk:
    """Return the chunk of a row, of which each source has so many."""
    kind = "text" if number % 5 == 4 else "image"
    file = number // per_source
    source = Source(f"/photos/{file % 97}/{file}.jpg", "image", 123_456, 1_700_000_000_000_000_000, f"{file:032x}")
    metadata = {"city": f"city {number % CITIES}", "width": 640}
    return Chunk(source, kind, Locator(page=number), caption=f"a photograph of thing {number}", metadata=metadata)


def matching(search: str, numbers: np.ndarray) -> np.ndarray:
    """Return which rows a search may find."""
    return {"vector": numbers >= 0, "kind": numbers % 5 != 4, "metadata": numbers % CITIES == 7}[search]


# Writing


def write_ours(index: MilvusIndex, chunks: Sequence[Chunk], vectors: np.ndarray) -> None:
    """Write chunks as an index run does: in batches of whole sources."""
    for start in range(0, len(chunks), ADDED):
        added = chunks[start : start + ADDED]
        sources = list(dict.fromkeys(chunk.source for chunk in added))
        for source in sources:
            index.begin(source)
        index.add(added, vectors[start : start + ADDED])
        for source in sources:
            index.complete(source)
    index.flush_buffer()


def encode(codec: RowCodec, chunks: Sequence[Chunk], vectors: np.ndarray) -> list[Row]:
    """Return the rows that bare pymilvus writes."""
    return [codec.encode(chunk_to_row(*each)) for each in zip(chunks, vectors, strict=True)]


def write_bare(client: MilvusClient, rows: Sequence[Row]) -> None:
    """Write finished rows with pymilvus."""
    for some in batched(rows, PER_CALL):
        client.upsert("bare", some)


def write_records(client: MilvusClient, records: list[Row]) -> None:
    """Write the records of a ledger before and after the rows with pymilvus."""
    for _ in ("begun", "complete"):
        client.upsert("bare_ledger", records)


def clocked(call: Callable[[], T]) -> tuple[T, np.ndarray]:
    """Return the result of a call, and the seconds that it took, in all and of the processor."""
    before = time.perf_counter(), time.process_time()
    return call(), np.subtract((time.perf_counter(), time.process_time()), before)


def measure_writes(uri: str, size: int) -> Iterator[Result]:
    """Yield rows per second of both sides and of making rows, with one and with ten chunks of each source.

    Bare pymilvus is also measured with the records of the ledger, two of each source.
    """
    client, rows = MilvusClient(uri), min(size, 2 * BLOCK)
    vectors = np.concatenate([block_of(size, start) for start in range(0, rows, BLOCK)])
    for per_source in (1, 10):
        # Seconds, and those of the processor, of each step.
        taken: dict[str, list[np.ndarray]] = defaultdict(list)
        with open_new(uri, "scale") as ours, open_new(uri, "bare") as bare:
            for start in range(0, rows, WRITTEN):
                written = vectors[start : start + WRITTEN]
                chunks = [chunk_of(start + number, per_source) for number in range(len(written))]
                sources = {chunk.source.uri: chunk.source for chunk in chunks}
                records = [Entry(uri, "complete", source, {"image": 1}).to_row() for uri, source in sources.items()]
                finished, times = clocked(partial(encode, bare.chunks.codec, chunks, written))
                taken["encoding"].append(times)
                steps = [
                    ("bare", partial(write_bare, client, finished)),
                    ("records", partial(write_records, client, records)),
                    ("ours", partial(write_ours, ours, chunks, written)),
                ]
                # The server goes on working after its answer, which delays whoever comes next.
                for step, write in steps[:: -1 if start // WRITTEN % 2 else 1]:
                    _, times = clocked(write)
                    taken[step].append(times)
        seconds = {side: np.sum(times, axis=0) for side, times in taken.items()}
        seconds["ledger"] = seconds["bare"] + seconds.pop("records")
        speeds = {f"{side}_rows_s": rows / float(wall) for side, (wall, _) in seconds.items()}
        client_us = {f"{side}_client_us": float(cpu) / rows * 1e6 for side, (_, cpu) in seconds.items()}
        yield {"per_source": per_source, **speeds, **client_us}
    drop(client)


def measure_new_rows(uri: str, index_type: str) -> Result:
    """Return the recall of each search in rows of one run, before the flush that ends it and a minute later."""
    queries, vectors = synthetic_vectors(QUERIES, DIMENSION, NEW // 100, 0), block_of(NEW, 0)
    nearest = Nearest(queries)
    nearest.add(vectors, 0)
    with open_new(uri, "scale", index_type) as index:
        retriever, recalls = Retriever(_context(index)), []
        index.load_rows(chunk_to_row(chunk_of(number), vector) for number, vector in enumerate(vectors))
        for wait_s in (SETTLE_S, 60.0):
            time.sleep(wait_s)
            found = [measure_search(retriever, index.chunks, each, queries, nearest.ids(each)) for each in SEARCHES]
            recalls.append([each["recall"] for each in found])
            index.flush()
    return {"before": recalls[0], "after": recalls[1]}


def drop(client: MilvusClient) -> None:
    """Drop the collections of this benchmark."""
    for name in {"scale", "scale_ledger", "bare", "bare_ledger"} & set(client.list_collections()):
        client.drop_collection(name)


def open_new(uri: str, collection: str, index_type: str = "FLAT") -> MilvusIndex:
    """Return an empty index, by default of a type that costs nothing to build while it is filled."""
    client = MilvusClient(uri)
    for name in {collection, f"{collection}_ledger"} & set(client.list_collections()):
        client.drop_collection(name)
    return MilvusIndex.open(uri, EMBEDDER, collection=collection, index_type=index_type)


# Searching


class Nearest:
    """Collects the ids of the nearest rows of all queries, exactly."""

    def __init__(self, queries: np.ndarray) -> None:
        self.queries = queries
        self._scores = {search: np.full((len(queries), K), -np.inf, np.float32) for search in SEARCHES}
        self._numbers = {search: np.full((len(queries), K), -1) for search in SEARCHES}

    def add(self, vectors: np.ndarray, start: int) -> None:
        """Compare the queries with further rows, of which the first has the number `start`."""
        scores, numbers = self.queries @ vectors.T, np.arange(start, start + len(vectors))
        for search in SEARCHES:
            allowed = np.flatnonzero(matching(search, numbers))
            both = np.hstack([self._scores[search], scores[:, allowed]])
            names = np.hstack([self._numbers[search], np.broadcast_to(numbers[allowed], (len(scores), len(allowed)))])
            best = np.argpartition(-both, K - 1, axis=1)[:, :K]
            self._scores[search] = np.take_along_axis(both, best, axis=1)
            self._numbers[search] = np.take_along_axis(names, best, axis=1)

    def ids(self, search: str) -> list[set[str]]:
        """Return the ids of the nearest rows of each query."""
        return [{chunk_of(int(number)).id for number in row if number >= 0} for row in self._numbers[search]]


def is_filled(uri: str, size: int) -> bool:
    """Return whether an interrupted run has left all rows on the server."""
    client = MilvusClient(uri)
    return client.has_collection("scale") and int(client.get_collection_stats("scale")["row_count"]) == size


def fill(index: MilvusIndex, size: int, *, write: bool) -> dict[str, list[set[str]]]:
    """Fill a new collection in large segments, if asked to write, and return the ids of the nearest rows by search."""
    client, name = index.chunks.connection.client, index.chunks.name
    client.release_collection(name)  # otherwise the server indexes new rows as they come, to be found at once
    nearest = Nearest(synthetic_vectors(QUERIES, DIMENSION, size // 100, 0))
    for start in range(0, size, BLOCK):
        vectors = block_of(size, start)
        nearest.add(vectors, start)
        if write:
            index.load_rows(chunk_to_row(chunk_of(start + number), vector) for number, vector in enumerate(vectors))
        print(f"{start + len(vectors):,} of {size:,} rows", flush=True)
    client.flush(name)  # rows of segments that are not sealed are searched by another index
    job = client.compact(name)
    while client.get_compaction_state(job) != "Completed":
        time.sleep(1)
    client.release_collection(name)
    return {search: nearest.ids(search) for search in SEARCHES}


def measure_index(index: MilvusIndex, size: int, index_type: str, nearest: dict[str, list[set[str]]]) -> Result:
    """Build an index, search it, and release it."""
    client, name, uri = index.chunks.connection.client, index.chunks.name, index.chunks.connection.address.uri
    started = usage(uri)
    chunks = ChunkCollection.open(index.chunks.swap, name, EMBEDDER, index_type)
    built = usage(uri)
    result: Result = {"build_s": built.at - started.at, "segments": len(client.list_loaded_segments(name))}
    retriever = Retriever(_context(MilvusIndex(chunks)))
    queries = synthetic_vectors(QUERIES, DIMENSION, size // 100, 0)
    used = {}
    for search in SEARCHES:
        before = usage(uri)
        result[search] = measure_search(retriever, chunks, search, queries, nearest[search])
        used[search] = before, usage(uri)
    client.release_collection(name)
    time.sleep(SETTLE_S)
    released = usage(uri)
    time.sleep(SETTLE_S)
    idle = released.cpu_until(usage(uri)) / SETTLE_S
    for search, (before, after) in used.items():
        result[search]["cpu_ms"] = before.cpu_until(after, idle) * 1000 / (2 * (SEARCHES_PER_SIDE + WARM_UP))
    loaded = used["vector"][1].memory
    memory = {"server_bytes": loaded, "index_bytes": loaded - released.memory}
    return result | memory | {"build_cpu_s": started.cpu_until(built, idle), "idle_cpus": idle}


def _context(index: MilvusIndex) -> Context:
    return Context(index, Models.of(cast("Any", SimpleNamespace(info=EMBEDDER))), ImageStore(index))


def measure_search(
    retriever: Retriever, chunks: ChunkCollection, search: str, queries: np.ndarray, nearest: list[set[str]]
) -> Result:
    """Return the times of both sides, which search in turn, and the recall of ours."""
    options, expression = RESTRICTIONS[search]
    client, profile = chunks.connection.client, chunks.connection.profile
    params = profile.search_params(chunks.index_type, K, filtered=bool(expression))

    def bare(query: np.ndarray) -> Any:
        request = {"metric_type": "IP", "params": params}
        (hits,) = client.search(chunks.name, [query.tolist()], expression, K, HIT_FIELDS, request, anns_field="vector")
        return [{"score": hit["distance"], **hit["entity"]} for hit in hits]  # pymilvus decodes what is read

    def ours(query: np.ndarray) -> Any:
        return retriever.search_by_vector(query, K, **options)

    for query in queries[:WARM_UP]:
        bare(query)
        ours(query)
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    found = []
    for number in range(SEARCHES_PER_SIDE):
        query = queries[number % QUERIES]
        sides: list[tuple[str, Callable[[np.ndarray], Any]]] = [("ours", ours), ("bare", bare)]
        for side, call in sides[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            hits = call(query)
            times[side].append((time.perf_counter() - started) * 1000)
            if side == "ours" and number < QUERIES:
                found.append({hit.id for hit in hits})
    shared = [len(a & b) / len(b) for a, b in zip(found, nearest, strict=True)]
    result: Result = {f"{side}_ms": list(np.percentile(each, [50, 99])) for side, each in times.items()}
    return result | {"recall": statistics.mean(shared)}


class Usage(NamedTuple):
    """What the server has used: bytes of memory at a time, and seconds of processors until then."""

    at: float
    memory: float
    cpu: float

    def cpu_until(self, later: Usage, idle: float = 0.0) -> float:
        """Return the processor seconds between two times. idle: those of a second without work."""
        return later.cpu - self.cpu - idle * (later.at - self.at)


def usage(uri: str) -> Usage:
    """Return what the server reports of its process."""
    with urllib.request.urlopen(f"http://{urlsplit(uri).hostname}:9091/metrics", timeout=60) as answer:
        text = answer.read().decode()
    numbers = dict(re.findall(r"^process_(resident_memory_bytes|cpu_seconds_total) (\S+)", text, re.MULTILINE))
    return Usage(time.perf_counter(), float(numbers["resident_memory_bytes"]), float(numbers["cpu_seconds_total"]))


# Results


def measure(uri: str, size: int, names: Sequence[str]) -> Iterator[tuple[str, Result]]:
    """Yield a result per index type, or what the server says against it, and the results of writing."""
    if "WRITE" in names:
        yield "WRITE", {"writes": list(measure_writes(uri, size))}
    if "NEW" in names:
        yield "NEW", {name: measure_new_rows(uri, name) for name in ("FLAT", "HNSW", "IVF_FLAT")}
    if {"WRITE", "NEW"}.issuperset(names):
        return
    filled = is_filled(uri, size)
    with MilvusIndex.open(uri, EMBEDDER, collection="scale") if filled else open_new(uri, "scale") as index:
        nearest = fill(index, size, write=not filled)
        for name in names:
            if name in ("WRITE", "NEW"):
                continue
            try:
                index.chunks.connection.check_index_type(name, "fp32")
                yield name, measure_index(index, size, name, nearest)
            except FlorenceError as error:
                yield name, {"error": str(error)}
        drop(index.chunks.connection.client)


def main(
    sizes: Annotated[list[int], typer.Option(min=1_000, help="Numbers of vectors.")] = [10_000, 100_000],  # noqa: B006
    indexes: Annotated[list[str], typer.Option(help="Index types, WRITE or NEW.")] = ["WRITE", "NEW", *INDEXES],  # noqa: B006
    results_file: Annotated[Path, typer.Option("--results", metavar="FILE")] = Path("server_scale.jsonl"),
    table: Annotated[bool, typer.Option("--table", help="Only print the results so far.")] = False,
) -> None:
    """Measure what the file of results lacks, and print all results."""
    for size in () if table else sizes:
        done = read_results(results_file)
        missing = [name for name in indexes if (size, name) not in done]
        for name, result in measure(os.environ["FLORENCE_TEST_MILVUS"], size, missing) if missing else ():
            line = json.dumps({"size": size, "index": name, "load": os.getloadavg()[0], **result})
            with results_file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            print(line, flush=True)
    print("\n\n".join(tables(read_results(results_file))))


if __name__ == "__main__":
    typer.run(main)
