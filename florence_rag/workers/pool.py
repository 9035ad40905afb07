"""The workers of this program: streams of what functions yield in them, within limits."""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from florence_rag.errors import FlorenceError, MemoryLimitError, TimeLimitError
from florence_rag.workers.process import Message, Worker

P = ParamSpec("P")
T = TypeVar("T")

_MAX_IDLE = 8
_MB = 2**20
_MOST_STARVED = 10
"""How many times its limit a task may take in all if the machine has no processor for it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a task may use. None stands for no limit.

    Attributes:
        seconds: The time for which its caller waits, all in all. Time in which the task waits for a processor, because
            the machine has too much to do, does not count on Linux, up to ten times this limit.
        seconds_per_item: How much longer that may be for each item that it yields.
        max_seconds: How long that may be with any number of items.
        memory_bytes: The memory that it may allocate, which only Linux limits.
    """

    seconds: float | None = 60.0
    seconds_per_item: float = 2.0
    max_seconds: float = 1800.0
    memory_bytes: int | None = 1536 * _MB


DEFAULT_LIMITS = Limits()

call_while_waiting: ContextVar[Callable[[], None]] = ContextVar("call_while_waiting", default=lambda: None)
"""What a thread calls while it waits for a worker. It may raise an exception, which ends the task."""


class _TimeLeft:
    """The time for which the caller of a task still waits."""

    def __init__(self, limits: Limits, worker: Worker) -> None:
        self._limits, self._allowed = limits, limits.seconds
        self._worker, self._starved = worker, worker.starved_s()
        self._waited = self._since = 0.0

    def receive(self) -> Message | None:
        """Wait for a message, or raise TimeLimitError."""
        self._since = time.monotonic()
        self._check()  # also if no item is waited for long
        message = self._worker.receive(self._check)
        self._waited += time.monotonic() - self._since
        return message

    def extend(self) -> None:
        """Allow more time, because there was an item."""
        if self._allowed is not None:
            longest = max(self._limits.max_seconds, self._limits.seconds or 0.0)
            self._allowed = min(self._allowed + self._limits.seconds_per_item, longest)

    def _check(self) -> None:
        call_while_waiting.get()()
        waited = self._waited + time.monotonic() - self._since
        if self._allowed is None or waited <= self._allowed:
            return
        starved = self._worker.starved_s() - self._starved
        if waited - starved > self._allowed or waited > _MOST_STARVED * self._allowed:
            raise TimeLimitError(f"reading it takes longer than the limit of {self._limits.seconds:,g} s")


class WorkerPool:
    """Workers that wait for tasks. Threads may share it; there are as many workers as tasks at the same time."""

    def __init__(self) -> None:
        self._forget()

    def start(self, count: int) -> None:
        """Start workers in the background until `count` of them wait for a task, so that no task waits for them."""
        with self._lock:
            self._idle += [self._new() for _ in range(min(count, _MAX_IDLE) - len(self._idle))]

    def stream(
        self,
        function: Callable[P, Iterable[T]],
        *args: Any,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Generator[T, None, None]:
        """Run a generator function in a worker and yield its items; the worker is at most a few items ahead.

        Closing the generator kills the worker, whatever it does.

        Args:
            function: A function that the worker can import; arguments and items must be picklable.
            args: Its arguments.
            limits: What the task may use.

        Raises:
            TimeLimitError: If the task takes longer than its limit.
            MemoryLimitError: If the task needs more memory than its limit, or ends its process.
            Exception: What the function raises, with its traceback as a note.
        """
        worker, is_idle = self._begin(limits.memory_bytes, function, args), False
        time_left = _TimeLeft(limits, worker)
        try:
            while not is_idle:
                message: tuple[str, Any] = time_left.receive() or ("exit", worker.exit_code())
                kind, value = message
                is_idle = kind in ("end", "error")
                if kind == "item":
                    yield value
                    time_left.extend()
                elif kind in ("memory", "exit"):
                    ends = kind == "exit"
                    how = f"ends its process ({_describe_end(value)}): it is damaged, or needs" if ends else "needs"
                    raise MemoryLimitError(f"reading it {how} {_describe_limit(limits.memory_bytes)}")
                elif kind != "end":
                    raise value
        finally:
            self._give_back(worker) if is_idle else worker.kill()

    def close(self, keep: int = 0) -> None:
        """End the workers that wait for a task, except `keep` of them."""
        with self._lock:
            idle = self._idle[keep:]
            del self._idle[keep:]
        for worker in idle:
            worker.result().kill()

    def _begin(self, *task: Any) -> Worker:
        while True:
            with self._lock:
                is_new = not self._idle
                future = self._new() if is_new else self._idle.pop()
            worker = future.result()
            try:
                if worker.begin(call_while_waiting.get(), *task):
                    return worker
            except BaseException:
                worker.kill()
                raise
            code = worker.kill()
            if is_new:
                raise FlorenceError(f"a worker process of {sys.executable!r} ended when it started (exit code {code})")

    def _give_back(self, worker: Worker) -> None:
        ready = Future[Worker]()
        ready.set_result(worker)
        with self._lock:
            if len(self._idle) < _MAX_IDLE:
                self._idle.append(ready)
                return
        worker.kill()

    def _new(self) -> Future[Worker]:
        """Start a worker in a thread that lasts: Linux ends a worker together with the thread that started it."""
        return self._starter.submit(Worker)

    def _forget(self) -> None:
        """Begin without workers: those of a process that was forked belong to its parent."""
        self._lock = threading.Lock()
        self._idle: list[Future[Worker]] = []
        self._starter = ThreadPoolExecutor(1, "florence-start-worker")


def _describe_end(code: int | None) -> str:
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"


def _describe_limit(memory_bytes: int | None) -> str:
    return (
        "more memory than there is"
        if memory_bytes is None
        else f"more memory than the limit of {memory_bytes // _MB:,} MB"
    )


_pool = WorkerPool()
stream, start_workers, close_workers = _pool.stream, _pool.start, _pool.close
atexit.register(_pool.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool._forget)
