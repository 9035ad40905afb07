"""Shared parts of the reliability programs: corpora, embedders, comparison of databases, memory, and results."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import psutil
from PIL import Image, ImageDraw

from florence_rag import FlorenceRAG
from florence_rag.context import Models
from florence_rag.index import store_client
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder, ColorVQA
from florence_rag.types import EmbedderInfo

MIB = 2**20

# glibc keeps free memory in an arena for each of up to 16 threads, which looks like a leak of about 60 MiB.
_ARENAS, _M_ARENA_MAX = 2, -8
os.environ["MALLOC_ARENA_MAX"] = str(_ARENAS)  # of processes that this one starts
with suppress(AttributeError, OSError, TypeError):
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)

# A server that has imported everything forks the processes, so that each starts quickly, and threads are not copied.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["milvus_lite.db", "pypdfium2", "av", "florence_rag.rag", "florence_rag.index.milvus"])


class OtherEmbedder(ColorEmbedder):
    """Another embedder: its vectors are those of `ColorEmbedder`, with their columns reversed."""

    info = EmbedderInfo(name="reversed colors", fingerprint="reversed", dimension=12, preprocessing="none")

    def embed_images(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        return super().embed_images(frames)[:, ::-1].copy()

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return super().embed_texts(texts)[:, ::-1].copy()


def open_rag(db: Path | str, **settings: Any) -> FlorenceRAG:
    """Open or create a database with the embedder that filled it; a Milvus Lite server counts as a Milvus server."""
    store_client.server_problem = lambda version: ""
    recorded = MilvusIndex.recorded_embedders(str(db))
    other = recorded is not None and recorded[0] == OtherEmbedder.info
    embedder = OtherEmbedder() if other else ColorEmbedder()
    images = None if "://" in str(db) else f"{db}.images"
    index = MilvusIndex.open(str(db), embedder.info)
    return FlorenceRAG(index, Models.of(embedder, vqa=ColorVQA()), images=images, **settings)


def draw(random: Random, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Draw an image of a few rectangles."""
    color = lambda: tuple(random.randrange(256) for _ in range(3))  # noqa: E731
    image = Image.new("RGB", size, color())
    canvas = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = random.randrange(size[0]), random.randrange(size[1])
        canvas.rectangle((x, y, x + random.randrange(8, 60), y + random.randrange(8, 60)), fill=color())
    return image


def save_video(path: Path, random: Random, seconds: int, size: tuple[int, int] = (160, 120), rate: int = 8) -> None:
    """Encode a video whose shots last two seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(seconds * rate):
            if number % (2 * rate) == 0:
                image = draw(random, size)
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def save_corpus(folder: Path, seed: int, images: int = 40) -> None:
    """Save images, two videos, a PDF and two texts, which depend only on the seed."""
    random = Random(seed)
    folder.mkdir(parents=True)
    for number in range(images):
        draw(random).save(folder / f"{number:03}.{'png' if number % 2 else 'jpg'}")
    for name in "ab":
        save_video(folder / f"{name}.mp4", random, seconds=6)
    pages = [draw(random, (400, 500)) for _ in range(3)]
    pages[0].save(folder / "report.pdf", save_all=True, append_images=pages[1:])
    paragraphs = (f"Paragraph {n}. " + f"A red bridge over the river, near house {n}. " * 12 for n in range(12))
    (folder / "note.txt").write_text("\n\n".join(paragraphs))
    (folder / "page.md").write_text("# Harbor\n\nBlue ships and yellow trams.\n")


Row = tuple[Any, ...]


@dataclass(frozen=True)
class Snapshot:
    """The contents of a database: the digest and the rows with vectors of each complete source, and the failures.

    `partial` are the uris of rows whose source is not complete, which no search may show.
    """

    sources: dict[str, tuple[str, frozenset[Row]]]
    failures: dict[str, str]
    partial: frozenset[str]
    faults: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return sum(len(rows) for _, rows in self.sources.values())


def snapshot(rag: FlorenceRAG) -> Snapshot:
    """Read the whole database."""
    hits = list(rag.index.find())
    ids = [hit.id for hit in hits]
    faults = [f"{len(ids) - len(set(ids))} rows are doubled"] if len(ids) > len(set(ids)) else []
    rows: dict[str, set[Row]] = defaultdict(set)
    for hit, vector in zip(hits, rag.index.vectors(ids), strict=True):
        metadata, place = json.dumps(hit.metadata, sort_keys=True), json.dumps(hit.locator.to_dict())
        fields = hit.id, hit.kind, place, hit.text, hit.caption, hit.ocr, metadata
        rows[hit.uri].add((*fields, *np.round(vector, 4).tolist()))
    known, info = rag.index.sources(), rag.index.info()
    if info.incomplete or sum(info.chunks.values()) != len(ids):
        faults.append(f"the ledger lists {sum(info.chunks.values())} of {len(ids)} rows, {info.incomplete} incomplete")
    sources = {uri: (source.content_hash, frozenset(rows.pop(uri, ()))) for uri, source in known.items()}
    failures = {failure.source: failure.reason for failure in rag.index.failures()}
    return Snapshot(sources, failures, frozenset(rows), tuple(faults))


def differences(found: Snapshot, expected: Snapshot) -> list[str]:
    """Return a line for each difference between a database and that of an uninterrupted run."""
    faults = [*found.faults, *(f"{uri} is partly there" for uri in found.partial)]
    for uri in found.sources.keys() | expected.sources.keys():
        if found.sources.get(uri) != expected.sources.get(uri):
            here, there = (len(each.sources.get(uri, ("", ()))[1]) for each in (found, expected))
            faults.append(f"{uri} differs ({here} rows, expected {there})")
    if found.failures != expected.failures:
        faults.append(f"failures are {found.failures}, expected {expected.failures}")
    return faults


@dataclass
class Memory:
    """Samples the memory of this process, or of others, every second while the context is entered."""

    pids: Sequence[int] = ()
    every_s: float = 1.0
    samples: list[tuple[float, float]] = field(default_factory=list)

    def __enter__(self) -> Memory:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        processes = [psutil.Process(pid) for pid in self.pids] or [psutil.Process()]
        while not self._stop.wait(self.every_s):
            used = sum(each.memory_info().rss for each in processes if each.is_running())
            self.samples.append((time.monotonic(), used / MIB))

    @property
    def peak(self) -> float:
        return max((used for _, used in self.samples), default=0.0)

    def growth(self) -> float:
        """Return the growth over the second half in MiB, along the line of least squares."""
        half = self.samples[len(self.samples) // 2 :]
        if len(half) < 3:
            return 0.0
        times, used = np.array(half).T
        return float(np.polyfit(times, used, 1)[0] * (times[-1] - times[0]))


@dataclass
class Result:
    """The outcome of one program: how often each line was tried, how often it failed, and a note for the table."""

    tried: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, line: str, faults: Sequence[str] = (), tried: int = 1) -> None:
        """Count trials of a line, of which at most one failed for each fault, and print the faults."""
        self.tried[line] += tried
        self.failed[line] += min(tried, len(faults))
        for fault in faults[:5]:
            print(f"FAULT {line}: {fault}", flush=True)

    @contextmanager
    def reported(self, output: Path | None = None) -> Iterator[Result]:
        """Print the table at the end, also if the program is interrupted; exit with 1 if anything failed."""
        interrupted = False
        for number in (signal.SIGINT, signal.SIGTERM):  # programs that a shell starts in the background ignore SIGINT
            signal.signal(number, signal.default_int_handler)
        try:
            yield self
        except KeyboardInterrupt:
            interrupted = True
        records = [
            {"line": line, "tried": tried, "survived": tried - self.failed[line], "note": self.notes.get(line, "")}
            for line, tried in self.tried.items()
        ]
        width = max(map(len, self.tried), default=0) + 2
        print(f"{'':{width}}{'tried':>10}{'survived':>10}")
        for each in records:
            print("{line:{width}}{tried:10,}{survived:10,}  {note}".format(**each, width=width).rstrip())
        if output:
            output.write_text(json.dumps(records))
        if interrupted or any(self.failed.values()):
            sys.exit(130 if interrupted else 1)
