"""`florence-rag estimate`: the hours, memory, disk and cost of an index of some size, as tables."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from florence_rag.cli.command import Command
from florence_rag.cli.output import markdown_table
from florence_rag.errors import InputError
from florence_rag.index.capacity_estimate import (
    MEASURED_DIMENSION,
    MEASURED_ROWS,
    SIZES,
    Assumptions,
    SearchCost,
    assume,
    indexing_cost,
    search_costs,
)
from florence_rag.index.index_types import index_types

_SEARCH = (
    "index",
    "core hours to build",
    "memory",
    "GPU memory",
    "local disk",
    "object storage",
    "CPU time per search",
    "$ a month",
)
_UNKNOWN = "not measured"
_TableParts = tuple[str, Sequence[str], Iterable[Sequence[str]]]


class Estimate(Command):
    """Estimate the GPU hours, memory, disk and cost of an index. It compares all index types."""

    images: Annotated[list[float] | None, typer.Option(help="The number of images, such as 1e8. Repeatable.")] = None
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another value of an assumption, such as dimension=512. Repeatable."),
    ] = None
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables of docs/scale.md.")] = False

    def run(self) -> None:
        assumptions = assume(dict(_parse_assumption(text) for text in self.assume or ()), Assumptions())
        sizes = [_check_size(size) for size in self.images or SIZES]
        if self.markdown:
            print(estimate_to_markdown(sizes, assumptions))
            return
        estimates = [
            {
                **asdict(indexing_cost(size, assumptions)),
                "indexes": [asdict(each) for each in search_costs(size, assumptions)],
            }
            for size in sizes
        ]
        record = {"assumptions": asdict(assumptions), "estimates": estimates}
        note = Text("Every number rests on assumptions, which docs/scale.md names and --assume changes.", "dim")
        self.print(record, Group(*(_table(*table) for table in _cost_tables(sizes, assumptions)), note))


def _parse_assumption(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--assume {text!r} has no value; write it as NAME=VALUE, such as dimension=512")
    return name.strip(), value.strip()


def _check_size(images: float) -> int:
    if not 1 <= images <= 1e15:
        raise InputError(f"--images {images!r} is not a number of images; use 1 to 1e15")
    return int(images)


def estimate_to_markdown(sizes: Sequence[int], assumptions: Assumptions) -> str:
    """Return all tables as Markdown: the index types, the assumptions, and the estimate for each size."""
    measured = [
        (f"`{each.name}`", f"{each.core_us_to_build:,}", f"{each.core_ms_to_search}", each.measured_on)
        for each in index_types().values()
        if each.core_us_to_build is not None
    ]
    sources = assumptions.sources()
    values = [
        (f"`{name}`", f"{value:.4g}" if isinstance(value, float) else f"{value}", sources[name])
        for name, value in asdict(assumptions).items()
    ]
    type_columns = ("index", "use", "memory per vector", "recall at 10", "needs")
    conditions = f"processor time, for vectors of {MEASURED_DIMENSION} dimensions"
    segment = f"milliseconds to search a segment of {MEASURED_ROWS:,}"
    measured_columns = ("index", "microseconds to index a vector", segment, "measured on")
    tables: list[_TableParts] = [
        ("Index types", type_columns, _type_rows(assumptions)),
        ("Assumptions", ("parameter", "value", "from"), values),
        (f"Measured {conditions}", measured_columns, measured),
        *_cost_tables(sizes, assumptions),
    ]
    return "\n\n".join(f"### {title}\n\n{markdown_table(names, rows)}" for title, names, rows in tables)


def _cost_tables(sizes: Sequence[int], assumptions: Assumptions) -> Iterator[_TableParts]:
    """Yield the title, the names of the columns and the rows of each table of costs."""
    costs = [indexing_cost(size, assumptions) for size in sizes]
    rows = [(f"{cost.images:,}", _count(cost.gpu_h), _count(cost.core_h), _count(cost.usd)) for cost in costs]
    yield "To fill an index", ("images", "GPU hours", "core hours to decode and read", "$ to fill"), rows
    for size in sizes:
        yield f"To search {size:,} images", _SEARCH, [*map(_search_row, search_costs(size, assumptions))]


def _type_rows(assumptions: Assumptions) -> Iterable[Sequence[str]]:
    for each in sorted(index_types().values(), key=lambda each: bool(each.refused)):
        if each.refused:
            yield f"`{each.name}`", each.summary, "", "", f"cannot be chosen: {each.refused}"
            continue
        size = each.memory(assumptions.dimension, 4) + each.gpu_memory(assumptions.dimension, 4)
        needs = [f"Milvus {'.'.join(map(str, each.since))}" + (", or Milvus Lite" if each.lite else "")]
        needs += ["a server built for GPUs, with one"] if each.gpu else []
        needs += ["NVMe disks"] if each.name == "DISKANN" else []
        yield f"`{each.name}`", each.summary, f"{size:,.0f} bytes", each.recall, "; ".join(needs)


def _search_row(cost: SearchCost) -> Sequence[str]:
    return (
        f"`{cost.index}`",
        _UNKNOWN if cost.build_core_h is None else _count(cost.build_core_h),
        _bytes(cost.memory_gb),
        _bytes(cost.gpu_memory_gb),
        _bytes(cost.disk_gb),
        _bytes(cost.object_gb),
        _UNKNOWN if cost.search_core_ms is None else _time(cost.search_core_ms),
        _count(cost.usd_month),
    )


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _bytes(gigabytes: float) -> str:
    if not gigabytes:
        return ""
    return f"{gigabytes / 1000:,.1f} TB" if gigabytes >= 1000 else f"{gigabytes:,.1f} GB"


def _time(milliseconds: float) -> str:
    return f"{milliseconds / 1000:,.1f} s" if milliseconds >= 1000 else f"{milliseconds:,.1f} ms"


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table for a terminal, in which "?" stands for unknown values."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in names:
        left = name in ("index", "images")
        table.add_column(name, justify="left" if left else "right", no_wrap=left)
    for row in rows:
        table.add_row(*(cell.strip("`").replace(_UNKNOWN, "?") for cell in row))
    return table
