"""A deadline for all waits of a thread for other machines, because timeouts of sockets count from byte to byte."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """End the waits inside the block after so many seconds; an earlier deadline of an outer block holds, too."""
    outer, own = _deadline.get(), time.monotonic() + seconds
    token = _deadline.set(own if outer is None else min(own, outer))
    try:
        yield
    finally:
        _deadline.reset(token)


def seconds_left(timeout_s: float | None = None) -> float | None:
    """Return the seconds until the deadline, from 0 to timeout_s; timeout_s without a deadline."""
    deadline = _deadline.get()
    if deadline is None:
        return timeout_s
    left = max(0.0, deadline - time.monotonic())
    return left if timeout_s is None else min(left, timeout_s)
