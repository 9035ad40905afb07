"""Formats capacity estimates as tables, for docs/scale.md and for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from florence_rag.index.capacity_estimate import (
    MEASURED,
    MEASURED_DIMENSION,
    MEASURED_ROWS,
    Assumptions,
    Serving,
    filling,
    serving,
)
from florence_rag.index.index_types import INDEX_TYPES, available_index_types

_FILLING = ("images", "GPU hours", "core hours to decode and read", "$ to fill")
_SERVING = (
    "index",
    "core hours to build",
    "memory",
    "GPU memory",
    "local disk",
    "object storage",
    "core time of a search",
    "$ a month",
)
_MEASURED_TITLE = f"### Measured on one core, with {MEASURED_ROWS:,} vectors of {MEASURED_DIMENSION} numbers"
_MEASURED = ("index", "microseconds to index a vector", "milliseconds to search")
_UNKNOWN = "not measured"
_PRESET = ("index", "what for", "memory of a vector", "recall at 10", "needs")


def estimate_to_markdown(sizes: Sequence[int], assumptions: Assumptions) -> str:
    """Return all tables as Markdown: the index types, the assumptions, and the estimate for each size."""
    parts = ["### Kinds of index", _markdown(_PRESET, _preset_rows(assumptions))]
    parts += ["### Assumptions", _markdown(("parameter", "value", "from"), _assumption_rows(assumptions))]
    parts += [_MEASURED_TITLE, _markdown(_MEASURED, _measured_rows())]
    parts += ["### To fill an index", _markdown(_FILLING, (_filling_row(size, assumptions) for size in sizes))]
    for size in sizes:
        rows = ((f"`{each.index}`", *_serving_row(each)) for each in serving(size, assumptions))
        parts += [f"### To search {size:,} images", _markdown(_SERVING, rows)]
    return "\n\n".join(parts)


def estimate_to_text(sizes: Sequence[int], assumptions: Assumptions) -> RenderableType:
    """Return the estimates for each size."""
    parts: list[RenderableType] = [
        _table("To fill an index", _FILLING, (_filling_row(size, assumptions) for size in sizes))
    ]
    for size in sizes:
        rows = (
            (each.index, *(cell.replace(_UNKNOWN, "?") for cell in _serving_row(each)))
            for each in serving(size, assumptions)
        )
        parts.append(_table(f"To search {size:,} images", _SERVING, rows))
    return Group(
        *parts, Text("Every number rests on assumptions, which docs/scale.md names and --assume changes.", "dim")
    )


def _preset_rows(assumptions: Assumptions) -> Iterable[Sequence[str]]:
    for name in (*available_index_types(), *(name for name, preset in INDEX_TYPES.items() if preset.refused)):
        preset = INDEX_TYPES[name]
        if preset.refused:
            yield f"`{name}`", preset.summary, "", "", f"cannot be chosen: {preset.refused}"
            continue
        size = preset.memory(assumptions.dimension, 4) + preset.gpu_memory(assumptions.dimension, 4)
        needs = [f"Milvus {'.'.join(map(str, preset.since))}" + (", or Milvus Lite" if preset.lite else "")]
        needs += ["a server built for GPUs, with one"] if preset.gpu else []
        needs += ["NVMe disks"] if name == "DISKANN" else []
        yield f"`{name}`", preset.summary, f"{size:,.0f} bytes", preset.recall, "; ".join(needs)


def _assumption_rows(assumptions: Assumptions) -> Iterable[Sequence[str]]:
    sources = assumptions.sources()
    for name, value in asdict(assumptions).items():
        yield f"`{name}`", f"{value:.4g}" if isinstance(value, float) else f"{value}", sources[name]


def _measured_rows() -> Iterable[Sequence[str]]:
    return ((f"`{name}`", f"{build_us:,}", f"{search_ms}") for name, (build_us, search_ms) in MEASURED.items())


def _filling_row(images: int, assumptions: Assumptions) -> Sequence[str]:
    work = filling(images, assumptions)
    return f"{images:,}", _count(work.gpu_h), _count(work.core_h), _count(work.usd)


def _serving_row(need: Serving) -> Sequence[str]:
    return (
        _UNKNOWN if need.build_core_h is None else _count(need.build_core_h),
        _bytes(need.memory_gb),
        _bytes(need.gpu_memory_gb),
        _bytes(need.disk_gb),
        _bytes(need.object_gb),
        _UNKNOWN if need.search_core_ms is None else _time(need.search_core_ms),
        _count(need.usd_month),
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _bytes(gigabytes: float) -> str:
    if not gigabytes:
        return ""
    return f"{gigabytes / 1000:,.1f} TB" if gigabytes >= 1000 else f"{gigabytes:,.1f} GB"


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1000:,.1f} s" if milliseconds >= 1000 else f"{milliseconds:,.1f} ms"


def _markdown(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names:
        left = name in ("index", "images")
        table.add_column(name, justify="left" if left else "right", no_wrap=left)
    for row in rows:
        table.add_row(*row)
    return table
