"""Where the time of an index run goes: seconds in each stage, summed over all threads."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageTimer:
    """Threads may share it. Stages overlap, so their seconds add up to more than the run took. It starts at once."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Counts the block for a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - started})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Counts what another has measured."""
        with self._lock:
            for stage, spent in seconds.items():
                self._seconds[stage] += spent

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was started."""
        return time.perf_counter() - self._started

    def seconds(self) -> Mapping[str, float]:
        """Stage -> seconds so far."""
        with self._lock:
            return dict(self._seconds)
