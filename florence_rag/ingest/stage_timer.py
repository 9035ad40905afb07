"""Measures how long the stages of an index run work, summed over all threads."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageTimer:
    """Seconds of work per stage since the timer was created. Threads may share it.

    Stages overlap, so their seconds add up to more than the run takes.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - started})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add times that another timer measured."""
        with self._lock:
            for stage, spent in seconds.items():
                self._seconds[stage] += spent

    @property
    def elapsed_s(self) -> float:
        """Seconds since the timer was created."""
        return time.perf_counter() - self._started

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each stage so far."""
        with self._lock:
            return dict(self._seconds)

    def utilization(self, threads: Mapping[str, int]) -> dict[str, float]:
        """Return the share of the elapsed time that the threads of each stage have worked, in [0, 1]."""
        elapsed_s = self.elapsed_s
        return {stage: spent / elapsed_s / threads.get(stage, 1) for stage, spent in self.seconds().items()}
