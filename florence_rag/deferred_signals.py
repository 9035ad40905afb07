"""Defers Ctrl-C and SIGTERM to a moment at which no call is half done.

Python raises KeyboardInterrupt wherever the main thread is. That may leave the lock of a queue held forever, so that
the threads that should stop never end, or break off a call to the store.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

POLL_S = 0.1
"""The interval in seconds at which a wait for a thread checks for a deferred signal."""


class DeferredSignals:
    """A context manager in which a first SIGINT or SIGTERM waits for the next `check`; a second one acts at once.

    The signal then calls the handler that the program has set. Nothing changes in a thread other than the main one,
    which receives no signals, and for signals that Python does not handle.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._pending: int | None = None

    def __enter__(self) -> DeferredSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._defer)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self.check()

    def check(self) -> None:
        """Call the handler of a deferred signal, if there is one."""
        number, self._pending = self._pending, None
        if number is not None:
            self._handlers[number](number, None)

    def _defer(self, number: int, frame: FrameType | None) -> None:
        if self._pending is not None:
            self._handlers[number](number, frame)
        self._pending = number
