"""Bytes per vector, recall, build and search time of each index type, on one core.

    python benchmarks/scale.py --rows 50000 --dimension 512 --json scale.json

Built with faiss, whose algorithms Milvus runs, with the parameters of florence_rag/index/index_types.toml for one
segment of this number of rows. The vectors are synthetic: clusters of 100 that differ in 64 directions, with noise in
all. Indexes that refine their best candidates (RaBitQ, ScaNN) use the full vectors, which only the modeled bytes
include. DISKANN and the GPU indexes are not in faiss-cpu.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import typer

from florence_rag.index.index_types import index_types, pq_bytes

K = 10
QUERIES = 100
DIRECTIONS = 64
IP = faiss.METRIC_INNER_PRODUCT
SQ8: Any = faiss.ScalarQuantizer.QT_8bit


def synthetic_vectors(rows: int, dimension: int, clusters: int, seed: int) -> np.ndarray:
    """Return unit vectors, (rows, dimension) float32; the clusters are the same for every seed."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(seed)
    centers = fixed.normal(size=(clusters, DIRECTIONS))
    directions = fixed.normal(size=(DIRECTIONS, dimension)).astype(np.float32)
    near = centers[random.integers(0, clusters, rows)] + 0.6 * random.normal(size=(rows, DIRECTIONS))
    vectors = near.astype(np.float32) @ directions
    vectors += np.float32(0.3 * DIRECTIONS**0.5) * random.standard_normal((rows, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def factories(rows: int, dimension: int) -> dict[str, Callable[[], Any]]:
    """Map each index type to a function that creates the empty index as Milvus does."""
    lists = index_types()["IVF_FLAT"].build_params(dimension, rows=rows)["nlist"]
    links = index_types()["HNSW"].build_params(dimension)["M"]

    def coarse() -> Any:
        return faiss.IndexFlatIP(dimension)

    return {
        "FLAT": coarse,
        "HNSW": lambda: faiss.IndexHNSWFlat(dimension, links, IP),
        "HNSW_SQ": lambda: faiss.IndexHNSWSQ(dimension, SQ8, links, IP),
        "IVF_FLAT": lambda: faiss.IndexIVFFlat(coarse(), dimension, lists, IP),
        "IVF_SQ8": lambda: faiss.IndexIVFScalarQuantizer(coarse(), dimension, lists, SQ8, IP),
        "IVF_PQ": lambda: faiss.IndexIVFPQ(coarse(), dimension, lists, pq_bytes(dimension), 8, IP),
        "IVF_RABITQ": lambda: faiss.IndexIVFRaBitQ(coarse(), dimension, lists, IP),
        "SCANN": lambda: faiss.IndexIVFPQFastScan(coarse(), dimension, lists, dimension // 2, 4, IP),
    }


def refined_candidates(name: str) -> int:
    """Return the number of candidates that are refined."""
    params = index_types()[name].search_params(K)
    return int(params.get("reorder_k") or K * params.get("refine_k", 1))


def set_effort(index: Any, name: str) -> None:
    """Set the search parameters of the index type."""
    params = index_types()[name].search_params(K)
    if "ef" in params:
        index.hnsw.efSearch = params["ef"]
    if "nprobe" in params:
        index.nprobe = params["nprobe"]


def measured(name: str, make: Callable[[], Any], vectors: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    """Return a row of the table without the recall, and the found ids."""
    index = make()
    started = time.perf_counter()
    if not index.is_trained:
        index.train(vectors)
    index.add(vectors)
    build_s = time.perf_counter() - started
    set_effort(index, name)
    candidates = refined_candidates(name)
    started = time.perf_counter()
    _, found = index.search(queries, candidates)
    if candidates > K:
        best = (np.argsort(-(vectors[row] @ query))[:K] for row, query in zip(found, queries, strict=True))
        found = np.array([row[order] for row, order in zip(found, best, strict=True)])
    search_ms = (time.perf_counter() - started) / len(queries) * 1000
    size = len(faiss.serialize_index(index)) / len(vectors)
    return {"name": name, "bytes": size, "build_s": build_s, "search_ms": search_ms, "found": found}


def table(rows: int, dimension: int) -> Iterator[dict[str, Any]]:
    """Yield a row per index type."""
    clusters = max(10, rows // 100)
    vectors, queries = (
        synthetic_vectors(rows, dimension, clusters, 1),
        synthetic_vectors(QUERIES, dimension, clusters, 2),
    )
    exact: np.ndarray | None = None
    for name, make in factories(rows, dimension).items():
        row = measured(name, make, vectors, queries)
        found = row.pop("found")
        exact = found if exact is None else exact
        shared = [len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)]
        modeled = index_types()[name].memory(dimension, 4)
        yield row | {"modeled_bytes": modeled, "recall": float(np.mean(shared)) / K}


def main(
    rows: Annotated[int, typer.Option(min=1000)] = 50_000,
    dimension: Annotated[int, typer.Option(min=8)] = 512,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE")] = None,
) -> None:
    """Print the table."""
    faiss.omp_set_num_threads(1)
    print(f"{rows} vectors of {dimension} numbers, one core, recall of the {K} nearest by {QUERIES} queries")
    print(f"{'index':<12}{'bytes':>8}{'modeled':>10}{'build s':>9}{'search ms':>11}{'recall':>8}")
    result = []
    for row in table(rows, dimension):
        result.append(row)
        print(
            f"{row['name']:<12}{row['bytes']:>8.0f}{row['modeled_bytes']:>10.0f}{row['build_s']:>9.1f}"
            f"{row['search_ms']:>11.2f}{row['recall']:>8.3f}",
            flush=True,
        )
    if json_file:
        json_file.write_text(json.dumps({"rows": rows, "dimension": dimension, "indexes": result}))


if __name__ == "__main__":
    typer.run(main)
