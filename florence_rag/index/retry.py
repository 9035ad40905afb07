"""Waiting for a server that went away: the same call again, with growing pauses, for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from florence_rag.index.store_errors import STORE_EXCEPTIONS, is_transient

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0

T = TypeVar("T")


class RetryPolicy:
    """Of one connection. longest_s: how long it asks again before a call fails.

    Once it has given up, it asks only once, so that what follows, such as closing, does not wait as long again; with
    the first answer its patience is back. Threads may share it.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._gave_up = False

    @property
    def waited_s(self) -> float:
        """How long was waited before giving up; 0 if the last call was answered."""
        return self._longest_s if self._gave_up else 0.0

    def __call__(self, call: Callable[[], T], prepare: Callable[[BaseException], None]) -> T:
        """What the call returns. prepare: told of each error before the call is repeated."""

        def before_pause(state: RetryCallState) -> None:
            if state.outcome and (error := state.outcome.exception()):
                prepare(error)

        asking = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(FIRST_PAUSE_S, MAX_PAUSE_S),
            stop=stop_after_delay(0 if self._gave_up else self._longest_s),
            before_sleep=before_pause,
            reraise=True,
        )
        try:
            result = asking(call)
        except STORE_EXCEPTIONS as error:
            self._gave_up = is_transient(error)
            raise
        self._gave_up = False
        return result
