"""The tables of docs/scale.md, from the results of server_scale.py."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from florence_rag.cli.output import markdown_table
from florence_rag.index.capacity_estimate import MEASURED_ROWS, Assumptions, segment_growth

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
    """Yield the times of each index type for the model of costs: to build the largest collection, the least to search.

    Other work, and the first searches after an index is loaded, only add to the processor time of a search.
    """
    for name in (*INDEXES, "DISKANN"):
        measured = {size: result for (size, each), result in results.items() if each == name and "vector" in result}
        sizes = [size for size in measured if size >= MEASURED_ROWS]
        searches = [each for size in sizes for each in _search_ms(name, size, measured[size])]
        if not searches:
            continue
        largest, (search_ms, searched) = measured[max(sizes)], min(searches)
        build_us = largest["build_cpu_s"] / max(sizes) * 1e6
        measured_on = f"{max(sizes):,} vectors, {max(sizes) // largest['segments']:,} per segment"
        if searched < max(sizes):
            measured_on += f"; to search: {searched:,}"
        yield f"`{name}`", f"{build_us:.0f}", f"{search_ms:.2f}", measured_on


def _search_ms(name: str, size: int, result: Result) -> Iterator[tuple[float, int]]:
    """Yield what each search with many matches takes of a segment of MEASURED_ROWS, with the size of the collection."""
    segments = result["segments"]
    for search in ("vector", "kind"):
        of_segments = result[search]["cpu_ms"] - Assumptions().request_core_ms
        if of_segments > 0:  # unlike those of a server that was building segments while it was thought idle
            yield of_segments / segments / segment_growth(name, size / segments), size


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
