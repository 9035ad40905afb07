"""The progress of an index run, and how busy its stages are."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from florence_rag.telemetry import current_context, span
from florence_rag.validation import validate_arguments


@validate_arguments
@dataclass(frozen=True, slots=True)
class Progress:
    """How far an index run is.

    Attributes:
        files_done: The number of files that are indexed, have failed, or are near-duplicates.
        files_total: The number of files to index.
        chunks: The number of chunks stored so far.
        source: The uri of the file that was read last.
        failures: The number of files that have failed.
        elapsed_s: Seconds since the run began.
        busy: For each stage the share of that time that its threads have worked, in [0, 1].
        task: What is done with the files: "index" stores them, "words" then reads their OCR text and captions.
    """

    files_done: int
    files_total: int
    chunks: int
    source: str
    failures: int
    elapsed_s: float = 0.0
    busy: Mapping[str, float] = field(default_factory=dict)
    task: Literal["index", "words"] = "index"

    @property
    def bottleneck(self) -> str:
        """The busiest stage, for which the others wait; "" before any has begun."""
        return max(self.busy, key=self.busy.__getitem__, default="")


class StageTimer:
    """Seconds of work per stage since the timer was created, summed over all threads. Threads may share it."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._threads: dict[str, int] = {}
        self._lock = threading.Lock()
        self._parent = current_context()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage, and report it as a span of the context that created the timer."""
        started = time.perf_counter()
        try:
            with span(f"index.{stage}", self._parent):
                yield
        finally:
            self.add({stage: time.perf_counter() - started})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add times that another timer measured."""
        with self._lock:
            for stage, spent in seconds.items():
                self._seconds[stage] += spent

    def set_threads(self, *, readers: int, workers: int) -> None:
        """Set the number of threads or processes: readers read and run OCR, workers run the other models."""
        self._threads = dict.fromkeys(("read", "ocr"), readers)
        self._threads |= dict.fromkeys(("caption", "detect", "actions", "embed"), workers)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the timer was created."""
        return time.perf_counter() - self._started

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far."""
        with self._lock:
            return dict(self._seconds)

    def utilization(self) -> dict[str, float]:
        """Return the share of the elapsed time that the threads of each stage have worked, in [0, 1]."""
        elapsed_s = self.elapsed_s
        return {stage: spent / elapsed_s / self._threads.get(stage, 1) for stage, spent in self.seconds().items()}
