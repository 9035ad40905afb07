"""Latency of searches in Milvus Lite by database size, index type and number of segments, on one core.

    python benchmarks/lite.py --json lite.json

The rows are synthetic: vectors of 512 numbers, a caption of five words, two metadata fields. The first table measures
one growing database, the second compares index types and numbers of segments at one size. Times are the fastest of
seven, in milliseconds, as other work on a machine only adds to them. "By Lite" are the same searches without the arrays
of `index/lite/search.py`.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from milvus_lite.engine import collection as lite

from florence_rag.index.lite.profile import LITE_ROWS
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

DIMENSION = 512
EMBEDDER = EmbedderInfo("synthetic", "0", DIMENSION, "none")
SIZES = (1_000, 5_000, 10_000, 25_000, 50_000, 100_000)
LITE_SEARCHES = lite.execute_search_with_index, lite.Collection._search_sparse
CITIES = 50
UNFLUSHED = 900
QUERIES = 7


def unit(rows: int, seed: int) -> np.ndarray:
    """Return random unit vectors, (rows, DIMENSION) float32."""
    vectors = np.random.default_rng(seed).standard_normal((rows, DIMENSION), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def fill(index: MilvusIndex, start: int, stop: int) -> None:
    """Add chunks, ten per source."""
    for first in range(start, stop, 10):
        numbers = range(first, min(first + 10, stop))
        source = Source(f"/photos/{first % 97}/{first}.jpg", "image", 1, 1, str(first))
        index.begin(source)
        index.add([_chunk(source, number) for number in numbers], unit(len(numbers), first))
        index.complete(source)
    index.flush_buffer()


def _chunk(source: Source, number: int) -> Chunk:
    caption = f"a photograph of thing {number % 1000}"
    metadata = {"city": f"city {number % CITIES}", "width": 640}
    return Chunk(source, "image", Locator(page=number), caption=caption, metadata=metadata)


def fastest_ms(search: Callable[[np.ndarray, int], Any], times: int = QUERIES) -> float:
    """Return the time of the fastest of several searches."""
    queries = unit(times + 1, 10**6)
    search(queries[0], 0)
    taken = []
    for number in range(1, times + 1):
        started = time.perf_counter()
        search(queries[number], number)
        taken.append((time.perf_counter() - started) * 1000)
    return min(taken)


def searches(index: MilvusIndex) -> dict[str, float]:
    """Return the time of each kind of search."""
    raw = 'metadata["city"] == "city 7"'
    return {
        "vector": fastest_ms(lambda query, _: index.search_vector(query, 5)),
        "BM25": fastest_ms(lambda _, n: index.search_bm25(f"thing {n}", 5)),
        "kind": fastest_ms(lambda query, _: index.search_vector(query, 5, kinds={"image"})),
        "source": fastest_ms(lambda query, _: index.search_vector(query, 5, filter='source >= "/photos/5"')),
        "metadata": fastest_ms(lambda query, _: index.search_vector(query, 5, filter={"metadata.city": "city 7"})),
        "raw JSON": fastest_ms(lambda query, _: index.search_vector(query, 5, filter=raw), 2),
        "20 hits": fastest_ms(lambda query, _: index.search_vector(query, 20)),
        **by_lite(index),
    }


def by_lite(index: MilvusIndex) -> dict[str, float]:
    """Return the time of two searches that Milvus Lite runs by itself."""
    vectors, terms = LITE_SEARCHES
    with (
        patch.object(lite, "execute_search_with_index", vectors),
        patch.object(lite.Collection, "_search_sparse", terms),
    ):
        return {
            "vector by Lite": fastest_ms(lambda query, _: index.search_vector(query, 5), 3),
            "BM25 by Lite": fastest_ms(lambda _, n: index.search_bm25(f"thing {n}", 5), 3),
        }


def growing(folder: Path, sizes: tuple[int, ...]) -> Iterator[dict[str, float]]:
    """Yield a row for each size of one database, also with rows that are not flushed."""
    with MilvusIndex.open(str(folder / "growing.db"), EMBEDDER) as index:
        rows = 0
        for size in sizes:
            started = time.perf_counter()
            fill(index, rows, size)
            index.flush()
            filled_s = time.perf_counter() - started
            record = {"rows": size, "rows/s in": (size - rows) / filled_s, **searches(index)}
            fill(index, size, size + UNFLUSHED)
            record[f"{UNFLUSHED} unflushed"] = fastest_ms(lambda query, _: index.search_vector(query, 5))
            rows = size + UNFLUSHED
            yield record


def reopened(folder: Path, rows: int, index_type: str, flushed_every: int) -> dict[str, Any]:
    """Measure a reopened database of one index type that was flushed at intervals."""
    path = str(folder / f"{index_type}-{flushed_every}.db")
    with MilvusIndex.open(path, EMBEDDER, index_type=index_type) as index:
        for first in range(0, rows, flushed_every):
            fill(index, first, min(first + flushed_every, rows))
            index.flush()
    started = time.perf_counter()
    with MilvusIndex.open(path, EMBEDDER) as index:
        open_s = time.perf_counter() - started
        size = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
        return {
            "index": index_type,
            "flushed every": flushed_every,
            "open s": open_s,
            "bytes per row": size / rows,
            "vector": fastest_ms(lambda query, _: index.search_vector(query, 5)),
            "kind": fastest_ms(lambda query, _: index.search_vector(query, 5, kinds={"image"})),
        }


def show(records: list[dict[str, Any]]) -> None:
    """Print a table."""
    names = list(records[0])
    print("".join(f"{name:>15}" for name in names))
    for record in records:
        cells = (f"{value:.1f}" if isinstance(value, float) else f"{value}" for value in record.values())
        print("".join(f"{cell:>15}" for cell in cells), flush=True)


def main(
    rows: Annotated[int, typer.Option(min=1000, help="The largest size.")] = SIZES[-1],
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE")] = None,
) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as scratch:
        sizes = tuple(size for size in SIZES if size <= rows)
        grown = list(growing(Path(scratch), sizes))
        show(grown)
        print()
        kinds = [
            reopened(Path(scratch), min(10_000, rows), *how)
            for how in (("FLAT", 1000), ("FLAT", 10_000), ("HNSW", 1000), ("HNSW_SQ", 1000), ("IVF_SQ8", 1000))
        ]
        show(kinds)
    print(f"\nflorence-rag info advises a server above {LITE_ROWS:,} chunks.")
    if json_file:
        json_file.write_text(json.dumps({"growing": grown, "kinds": kinds}))


if __name__ == "__main__":
    typer.run(main)
