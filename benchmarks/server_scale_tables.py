"""The tables of docs/scale.md, from the results of server_scale.py."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from florence_rag.cli.output import markdown_table
from florence_rag.index.capacity_estimate import Assumptions, segment_growth

INDEXES = ("FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "SCANN")
SEARCHES = ("vector", "kind", "metadata")
WRITERS = ("ours", "bare", "ledger", "encoding")

Result = dict[str, Any]
Results = Mapping[tuple[int, str], Result]
"""By the number of vectors, and the index type or what else was measured."""


def read_results(path: Path) -> Results:
    """Return the results so far, by size and index type."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {(each["size"], each["index"]): each for each in map(json.loads, lines)}


def tables(results: Results) -> Iterator[str]:
    """Yield the tables of docs/scale.md."""
    for size in sorted({size for size, _ in results}):
        rows = [
            _index_row(name, results[size, name], size) for name in (*INDEXES, "DISKANN") if (size, name) in results
        ]
        if not rows:
            continue
        loads = [result["load"] for (each, _), result in results.items() if each == size]
        columns = ["index", "build", "CPU", "server", *SEARCHES, "CPU of one", "recall", "of bare pymilvus"]
        yield f"### {size:,} vectors, under a load of {min(loads):.0f} to {max(loads):.0f}"
        yield markdown_table(columns, rows)
    yield "### The times in index_types.toml"
    yield markdown_table(["index", "core_us_to_build", "core_ms_to_search", "measured_on"], [*_times(results)])
    writes = [
        (
            f"{each['per_source']}",
            *(f"{each[f'{side}_rows_s']:,.0f}" for side in WRITERS),
            " / ".join(f"{each['ours_rows_s'] / each[f'{side}_rows_s']:.2f}" for side in ("bare", "ledger")),
            " / ".join(f"{each[f'{side}_client_us']:.0f}" for side in WRITERS),
        )
        for (_, name), result in sorted(results.items())
        if name == "WRITE"
        for each in result["writes"]
    ]
    new = [
        (f"`{name}`", *(" / ".join(f"{recall:.3f}" for recall in recalls) for recalls in each.values()))
        for (_, kind), result in results.items()
        if kind == "NEW"
        for name, each in result.items()
        if isinstance(each, dict)
    ]
    if new:
        yield markdown_table(["index", "recall in new rows", "a minute after the flush"], new)
    speeds = [f"{each}, rows/s" for each in ("ours", "bare pymilvus", "the same with a ledger", "encoding alone")]
    if writes:
        yield markdown_table(["chunks per source", *speeds, "ours to both", "client's CPU of a row, us"], writes)


def _times(results: Results) -> Iterator[Sequence[str]]:
    """Yield the times of each index type for the model of costs, from the largest collection.

    The first searches after an index is loaded take longer, so it may be the search by kind that takes less.
    """
    largest = {name: (size, result) for (size, name), result in sorted(results.items()) if "vector" in result}
    for name, (size, result) in largest.items():
        segments, cpu_ms = result["segments"], min(result[search]["cpu_ms"] for search in ("vector", "kind"))
        of_a_segment = (cpu_ms - Assumptions().request_core_ms) / segments
        search_ms = of_a_segment / segment_growth(name, size / segments)
        build_us = result["build_cpu_s"] / size * 1e6
        yield f"`{name}`", f"{build_us:.0f}", f"{search_ms:.2f}", f"{size:,} vectors, {size // segments:,} per segment"


def _index_row(name: str, result: Result, size: int) -> Sequence[str]:
    if "error" in result:
        return f"`{name}`", result["error"], *[""] * (len(SEARCHES) + 5)
    times = [" / ".join(f"{each:.1f}" for each in result[search]["ours_ms"]) + " ms" for search in SEARCHES]
    ratios = [result[search]["ours_ms"][0] / result[search]["bare_ms"][0] for search in SEARCHES]
    return (
        f"`{name}`",
        f"{result['build_s']:.0f} s",
        f"{result['build_cpu_s'] / size * 1e6:,.0f} us",
        f"{result['server_bytes'] / 1e6:,.0f} MB",
        *times,
        f"{cpu_ms:.1f} ms" if (cpu_ms := result["vector"]["cpu_ms"]) > 0 else "-",
        " / ".join(f"{result[search]['recall']:.3f}" for search in SEARCHES),
        " / ".join(f"{ratio:.2f}" for ratio in ratios),
    )
