"""Latency of each branch of a search and of the whole, compared with pymilvus, by the number of chunks in Milvus Lite.

    python benchmarks/branches.py --json branches.json
    python benchmarks/branches.py --size 1000 --size 10000 --processor-time     # on a busy machine

The rows are those of `plugins.py`: images with random vectors, some with words, and passages. A branch returns as many
hits as a search asks it for. "Hybrid" is the three branches of a search: images, passages and terms. "Whole" adds the
embedding of the text, calibration, fusion and grouping. pymilvus runs the same searches over the same rows, and for the
whole one embedding. Calibration is the time inside its functions during the whole search; it computes all relevance.

All ways run in turns over the same queries. Processor time is that of all threads of this process, in which Milvus Lite
runs.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from plugins import QUERIES, bare_client, bare_search, bare_searches, fill, three_bare_searches
from pymilvus import MilvusClient

from florence_rag import FlorenceRAG
from florence_rag.embedding.base import embed_queries
from florence_rag.models.registry import TINY
from florence_rag.retrieval import retriever
from florence_rag.retrieval.relevance import TermEvidence
from florence_rag.retrieval.retriever import VISUAL_KINDS

SIZES = (1_000, 10_000, 100_000)
CALIBRATION = ("weigh_cosines", "weigh_terms")
Clock = Callable[[], float]
Way = Callable[[str, np.ndarray], Any]


def our_ways(rag: FlorenceRAG, depth: int) -> dict[str, Way]:
    """Return our searches of a text and its vector."""
    index, passages = rag.index, frozenset({"text"})
    return {
        "embedding": lambda text, _: embed_queries(rag.models.embedder, [text]),
        "vector": lambda _, vector: index.search_vector(vector, depth),
        "BM25": lambda text, _: index.search_bm25(text, depth),
        "hybrid": lambda text, vector: (
            index.search_vector(vector, depth, kinds=VISUAL_KINDS),
            index.search_vector(vector, depth, kinds=passages),
            index.search_bm25(text, depth),
        ),
        "whole": lambda text, _: rag.search(text),
    }


def bare_ways(rag: FlorenceRAG, client: MilvusClient, depth: int) -> dict[str, Way]:
    """Return the same of pymilvus."""
    _, thrice = bare_searches(rag, client).values()
    return {
        "vector": lambda _, vector: bare_search(client, vector.tolist(), depth),
        "BM25": lambda text, _: bare_search(client, text, depth, "", "bm25"),
        "hybrid": lambda text, vector: three_bare_searches(client, text, vector.tolist(), depth),
        "whole": lambda text, _: thrice(text),
    }


@contextmanager
def timed_calibration(clock: Clock) -> Iterator[list[float]]:
    """Add the time inside the functions of calibration to the one number of a list."""
    total = [0.0]

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            started = clock()
            try:
                return function(*args, **options)
            finally:
                total[0] += clock() - started

        return call

    probability = property(timed(TermEvidence.probability.fget))
    with (
        patch.multiple(retriever, **{name: timed(getattr(retriever, name)) for name in CALIBRATION}),
        patch.object(TermEvidence, "probability", probability),
    ):
        yield total


def measure(rows: int, queries: int, clock: Clock, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each branch of a database of some size."""
    with FlorenceRAG.open(folder / f"{rows}.db", TINY, ocr="never") as rag:
        fill(rag, rows)
        with bare_client(rag, folder / f"{rows}-bare.db") as client, timed_calibration(clock) as calibration:
            depth = rag.retriever.config.candidates_per_branch
            bare = bare_ways(rag, client, depth)
            ways = our_ways(rag, depth) | {f"pymilvus {name}": way for name, way in bare.items()}
            times: dict[str, list[float]] = {name: [] for name in [*ways, "calibration"]}
            turns = Random(0)
            for number in range(-len(QUERIES), queries):  # the first round is a warm-up
                text = QUERIES[number % len(QUERIES)]
                vector = embed_queries(rag.models.embedder, [text])[0]
                for name in turns.sample(list(ways), len(ways)):
                    calibration[0], started = 0.0, clock()
                    ways[name](text, vector)
                    if number >= 0:
                        times[name].append(clock() - started)
                        times["calibration"] += calibration if name == "whole" else []
    for name in ("embedding", "vector", "BM25", "hybrid", "calibration", "whole"):
        yield {"rows": rows, "branch": name, **compared(times[name], times.get(f"pymilvus {name}", []))}


def compared(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile of both in milliseconds, and the ratio of the medians."""
    row = {"p50_ms": percentile(ours, 50), "p99_ms": percentile(ours, 99)}
    if theirs:
        row |= {"pymilvus_p50_ms": percentile(theirs, 50), "pymilvus_p99_ms": percentile(theirs, 99)}
        row["ratio"] = row["p50_ms"] / row["pymilvus_p50_ms"]
    return row


def percentile(seconds: Sequence[float], percent: float) -> float:
    """Return a percentile in milliseconds."""
    return float(1000 * np.percentile(seconds, percent))


def show(record: dict[str, Any]) -> None:
    """Print a row of a Markdown table."""
    cells = (f"{record[name]:.2f}" if name in record else "" for name in list(compared([0.0], [1.0])))
    print(f"| {record['rows']:,} | {record['branch']} | {' | '.join(cells)} |", flush=True)


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", min=100, help="Rows; repeatable.")] = None,
    queries: Annotated[int, typer.Option(min=1, help="Queries per way and size.")] = 112,
    processor_time: Annotated[bool, typer.Option(help="Measure processor time instead of time.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE")] = None,
) -> None:
    """Print the table."""
    print("| chunks | branch | p50 ms | p99 ms | p50, pymilvus | p99, pymilvus | ratio of p50 |")
    print("|---|---|---|---|---|---|---|")
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes or SIZES:
            clock = time.process_time if processor_time else time.perf_counter
            for record in measure(rows, queries, clock, Path(folder)):
                records.append(record)
                show(record)
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
