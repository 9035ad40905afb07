"""Runs the calls of requests in few threads, with a limit of time and of waiting requests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from starlette.exceptions import HTTPException

T = TypeVar("T")


class WorkPool:
    """A pool of threads. A call that is given up keeps its thread until it ends, so calls cannot pile up.

    Args:
        name: The name of the threads.
        threads: The number of calls at once.
        max_waiting: The number of calls that may wait for a thread.
        timeout_s: The time of a call, waiting included.
    """

    def __init__(self, name: str, threads: int, max_waiting: int, timeout_s: float) -> None:
        self._executor = ThreadPoolExecutor(threads, f"florence-{name}")
        self._most, self._timeout_s = threads + max_waiting, timeout_s
        self._calls, self._lock = 0, Lock()

    async def run(self, call: Callable[[], T]) -> T:
        """Return the result of a call, or raise HTTPException if the pool is full or the time is over."""
        if self._calls >= self._most:
            raise HTTPException(503, "the server is busy; try again", {"retry-after": "2"})
        with self._lock:
            self._calls += 1
        future = self._executor.submit(call)
        future.add_done_callback(self._end)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._timeout_s)
        except TimeoutError:
            raise HTTPException(504, f"this takes longer than {self._timeout_s:g} s, and was given up") from None

    def _end(self, _: Future[Any]) -> None:
        with self._lock:
            self._calls -= 1

    def close(self) -> None:
        """Wait for the calls that run, and drop those that wait."""
        self._executor.shutdown(cancel_futures=True)
