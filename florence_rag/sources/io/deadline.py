"""A deadline for all waits of a thread for other machines, because timeouts of sockets count from byte to byte."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

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


def call_in_time(seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that cannot be interrupted, in a thread, which is left behind at the deadline.

    Raises:
        TimeoutError: If the function has not returned after so many seconds, or at the deadline of `time_limit`.
        BaseException: What the function raises.
    """
    result = Future[T]()

    def call() -> None:
        try:
            result.set_result(function(*args, **kwargs))
        except BaseException as error:
            result.set_exception(error)

    Thread(target=call, name="florence-call", daemon=True).start()
    return result.result(seconds_left(seconds))
