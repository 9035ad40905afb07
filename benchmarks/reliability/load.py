"""Readers that know the right answers, and a writer: the load of `readers_writer.py` and `lite_server.py`.

The writer replaces texts and images over and over, so that the database keeps its size. What it has acknowledged is
shared with the readers, threads or processes, and each of their calls checks an answer.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import SynchronizedArray
from multiprocessing.synchronize import Event
from pathlib import Path
from random import Random

import numpy as np
from workload import PROCESSES, Result, draw, open_rag

from florence_rag import FlorenceRAG
from florence_rag.errors import FlorenceError
from florence_rag.types import Hit

ITEMS = 64
FILES = 60
REPLACED_PER_STEP = 4


@dataclass
class Shared:
    """The state that the writer and the readers share.

    `files` never change. `versions` are those that each item has at least: the writer stores a version first, and then
    raises the number, at once, or on a Milvus server after the seconds in which other clients must see the write.
    """

    folder: Path
    seed: int
    lag_s: float = 0.0
    stop: Event = field(default_factory=PROCESSES.Event)
    versions: SynchronizedArray = field(default_factory=lambda: PROCESSES.Array("i", ITEMS))

    @property
    def files(self) -> list[Path]:
        return [self.folder / "files" / f"{number:03}.png" for number in range(FILES)]

    @property
    def changing(self) -> Path:
        return self.folder / "changing"

    def prepare(self, rag: FlorenceRAG) -> None:
        """Index the files, and store the first version of each item."""
        random = Random(self.seed)
        for path in self.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(random).save(path)
        self.changing.mkdir(exist_ok=True)
        rag.add(self.files[0].parent)
        put_items(rag, range(ITEMS), 0)


def put_items(rag: FlorenceRAG, numbers: range, version: int) -> None:
    texts = [f"A red note {number} in version {version}." for number in numbers]
    metadatas = [{"version": version, "number": number} for number in numbers]
    rag.items.upsert_texts(texts, ids=[f"note {number}" for number in numbers], metadatas=metadatas)


def write(rag: FlorenceRAG, shared: Shared) -> int:
    """Replace items, and create, change and delete image files, until `stop` is set; return the number of steps."""
    step = 0
    written: deque[tuple[float, range, int]] = deque()
    random = Random(shared.seed + 1)
    while not shared.stop.is_set():
        step += 1
        first = step * REPLACED_PER_STEP % ITEMS
        numbers = range(first, first + REPLACED_PER_STEP)
        put_items(rag, numbers, step)
        written.append((time.monotonic(), numbers, step))
        while written and written[0][0] <= time.monotonic() - shared.lag_s:
            _, seen, version = written.popleft()
            for number in seen:
                shared.versions[number] = version
        if step % 5 == 0:
            path = shared.changing / f"{step % 7}.png"
            path.unlink(missing_ok=True) if step % 3 == 0 else draw(random).save(path)
            (shared.changing / "always.md").write_text(f"A blue line of step {step}.")
            report = rag.add(shared.changing, prune=True)
            if report.failed:
                raise RuntimeError(f"the writer could not index {report.failed}")
    return step


@dataclass
class Reading:
    """The calls of one reader: their times in seconds, and each kind of fault with its number."""

    seconds: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


def read(rag: FlorenceRAG, shared: Shared, seed: int) -> Reading:
    """Search and fetch until `stop` is set, and check every answer."""
    random, reading = Random(seed), Reading()
    checks = (check_text, check_image, check_item, check_filter)
    while not shared.stop.is_set():
        started = time.perf_counter()
        try:
            fault = random.choice(checks)(rag, shared, random)
        except FlorenceError as error:
            fault = f"{type(error).__name__}: {error}"
        reading.seconds.append(time.perf_counter() - started)
        if fault:
            reading.faults[fault] += 1
    return reading


def check_text(rag: FlorenceRAG, shared: Shared, random: Random) -> str:
    ids = [hit.id for hit in rag.search("a red note", k=10)]
    return "" if len(ids) == len(set(ids)) == 10 else f"a text search finds {len(set(ids))} of 10 hits"


def check_image(rag: FlorenceRAG, shared: Shared, random: Random) -> str:
    path = random.choice(shared.files)
    hits = rag.search(image=path, k=3, group=False)
    return "" if str(path) in [hit.source for hit in hits] else "an image search does not find its image"


def check_item(rag: FlorenceRAG, shared: Shared, random: Random) -> str:
    number = random.randrange(ITEMS)
    version = shared.versions[number]
    hits = rag.get([f"note {number}"])
    if not hits:
        return "an acknowledged item is missing"
    return _check_version(hits[0], version)


def check_filter(rag: FlorenceRAG, shared: Shared, random: Random) -> str:
    number = random.randrange(ITEMS)
    version = shared.versions[number]
    hits = rag.search("a red note", k=2, filter={"number": number})
    return _check_version(hits[0], version) if len(hits) == 1 else f"a filter for one item finds {len(hits)}"


def _check_version(hit: Hit, version: int) -> str:
    found = hit.metadata["version"]
    if not hit.text.endswith(f"version {found}."):
        return "the text and the metadata of an item are of different versions"
    return "" if found >= version else "an item is older than what was acknowledged"


def start_pool(workers: int, shared: Shared, uri: str) -> ProcessPoolExecutor:
    """Return a pool of processes in which `context` works."""
    return ProcessPoolExecutor(workers, PROCESSES, initializer=_set_context, initargs=(shared, uri))


_context: tuple[Shared, str]


def _set_context(shared: Shared, uri: str) -> None:
    global _context
    _context = shared, uri


def context() -> tuple[Shared, str]:
    """Return the shared objects and the address of the server, in a process of the pool."""
    return _context


def read_in_process(seed: int) -> Reading:
    shared, uri = context()
    with open_rag(uri) as rag:
        return read(rag, shared, seed)


def write_in_process() -> int:
    shared, uri = context()
    with open_rag(uri) as rag:
        return write(rag, shared)


def add_readings(result: Result, line: str, readings: Sequence[Reading]) -> None:
    """Count the answers of all readers as trials, and note their times."""
    times = np.array([second for reading in readings for second in reading.seconds]) * 1000
    faults = sum((reading.faults for reading in readings), Counter[str]())
    result.add(line, [f"{fault} ({count} times)" for fault, count in faults.items()], tried=len(times))
    result.failed[line] = faults.total()
    p50, p99 = np.percentile(times, (50, 99))
    result.notes[line] = f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"
