"""Many readers and one writer at the same time: right answers, their times, and flat memory.

    python benchmarks/reliability/readers_writer.py --minutes 10

First the readers are threads of the process that holds a Milvus Lite database, then processes that share a server: the
Milvus server that FLORENCE_TEST_MILVUS names, or a Milvus Lite server, which stands in for one. The writer replaces
what it wrote, so the database keeps its size, and so must the memory. The embedder is a mean of colors.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import load
import typer
from lite_server import LiteServer
from workload import Memory, Result, open_rag

WARM_UP_S = 20.0
MOST_LAG_S = 5.0
"""After how many seconds each client of a Milvus server must see the writes of the others."""
MOST_GROWTH_MIB, MOST_GROWTH_OF_OTHERS_MIB = 16, 1
"""How much the memory may grow in the second half: that of one process, and more for each other one."""


def measure(minutes: float, name: str, pids: Sequence[int] = ()) -> Memory:
    """Measure the memory after a while in which caches fill, and print it ten times."""
    time.sleep(WARM_UP_S)
    with Memory(pids) as memory:
        for tenth in range(1, 11):
            time.sleep(minutes * 6)
            print(f"{name}: {tenth * minutes / 10:5.1f} min, {memory.samples[-1][1]:6.0f} MiB", flush=True)
    return memory


def add(result: Result, name: str, readings: list[load.Reading], steps: int, memory: Memory) -> None:
    """Count the answers of all readers, and check the memory."""
    load.add_readings(result, name, readings)
    result.notes[name] += f", {steps} writes"
    line, growth = f"{name}: memory", memory.growth()
    allowed = MOST_GROWTH_MIB + MOST_GROWTH_OF_OTHERS_MIB * max(0, len(memory.pids) - 1)
    result.add(line, [] if growth < allowed else [f"the memory grows by {growth:.0f} MiB in the second half"])
    result.notes[line] = f"peak {memory.peak:.0f} MiB, {growth:+.0f} MiB in the second half, allowed are {allowed}"


def threads(folder: Path, readers: int, minutes: float, seed: int, result: Result) -> None:
    """Readers and the writer are threads of one process."""
    shared = load.Shared(folder, seed)
    with open_rag(folder / "x.db") as rag, ThreadPoolExecutor(readers + 1) as pool:
        shared.prepare(rag)
        writer = pool.submit(load.write, rag, shared)
        started = time.process_time()
        futures = [pool.submit(load.read, rag, shared, seed + number) for number in range(readers)]
        try:
            memory = measure(minutes, "threads")
        finally:
            shared.stop.set()
        readings, name = [each.result() for each in futures], "Milvus Lite, threads"
        add(result, name, readings, writer.result(), memory)
        used = (time.process_time() - started) / sum(len(each.seconds) for each in readings)
        result.notes[name] += f", {1000 * used:.0f} ms of the processor for each answer"


@contextmanager
def shared_server(folder: Path) -> Iterator[tuple[str, str, list[int]]]:
    """Provide a server: its name, its address, and its processes if they are ours."""
    if uri := os.environ.get("FLORENCE_TEST_MILVUS"):
        yield "Milvus server", uri, []
        return
    with LiteServer(folder / "server") as server:
        yield "Lite server", server.uri, [server.pid]


def processes(folder: Path, readers: int, minutes: float, seed: int, result: Result) -> None:
    """Readers and the writer are processes that share one server."""
    with shared_server(folder) as (name, uri, pids):
        shared = load.Shared(folder, seed, 0.0 if pids else MOST_LAG_S)
        with open_rag(uri) as rag:
            shared.prepare(rag)
        with load.start_pool(readers + 1, shared, uri) as pool:
            writer = pool.submit(load.write_in_process)
            futures = [pool.submit(load.read_in_process, seed + number) for number in range(readers)]
            try:
                memory = measure(minutes, "processes", [*pids, *pool._processes])
            finally:
                shared.stop.set()
            add(result, f"{name}, processes", [each.result() for each in futures], writer.result(), memory)


def main(
    minutes: Annotated[float, typer.Option(min=0.1, help="The duration of each of the two parts.")] = 10,
    readers: Annotated[int, typer.Option(min=1)] = 32,
    seed: int = 0,
    only: Annotated[str | None, typer.Option(help="threads or processes.")] = None,
    output: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the result here.")] = None,
) -> None:
    """Print how many answers were right, how long they took, and the memory."""
    with Result().reported(output) as result, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        for part in [each for each in (threads, processes) if each.__name__ == (only or each.__name__)]:
            folder = Path(scratch) / part.__name__
            folder.mkdir()
            part(folder, readers, minutes, seed, result)


if __name__ == "__main__":
    typer.run(main)
