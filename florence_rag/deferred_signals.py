"""Ctrl-C, kept for a moment at which nothing is half done.

Raised wherever the main thread happens to be, it may leave the lock of a queue held for ever, so that the threads that
are to be stopped never end, or a call to the store on its way.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

POLL_S = 0.1
"""How often who waits for a thread looks for an interrupt."""


class DeferredSignals:
    """Within it, a first SIGINT or SIGTERM waits for the next `check`; a second one acts at once.

    What it does then is what the program has set for it. In a thread other than the main one, which gets no signals,
    and for signals that Python does not handle, nothing changes.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._kept: int | None = None

    def __enter__(self) -> DeferredSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._keep)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self.check()

    def check(self) -> None:
        """Let an interrupt that was kept act now."""
        number, self._kept = self._kept, None
        if number is not None:
            self._handlers[number](number, None)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        if self._kept is not None:
            self._handlers[number](number, frame)
        self._kept = number
