"""Repeats calls to a server that went away, with growing pauses, for a limited time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from florence_rag.index.store_errors import STORE_EXCEPTIONS, is_transient

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0

T = TypeVar("T")


class RetryPolicy:
    """The retries of one connection. Threads may share it.

    After a call has failed for `max_wait_s` seconds, later calls are tried only once, so that what follows, such as
    closing, does not wait as long again. The first answer resets this.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._gave_up = False

    @property
    def waited_s(self) -> float:
        """The time in seconds that the last call was repeated in vain; 0 if it was answered."""
        return self._max_wait_s if self._gave_up else 0.0

    def __call__(self, call: Callable[[], T], before_retry: Callable[[BaseException], None]) -> T:
        """Return the result of a call, and run `before_retry` with each error before the call is repeated."""

        def before_sleep(state: RetryCallState) -> None:
            if state.outcome and (error := state.outcome.exception()):
                before_retry(error)

        retrying = Retrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(FIRST_PAUSE_S, MAX_PAUSE_S),
            stop=stop_after_delay(0 if self._gave_up else self._max_wait_s),
            before_sleep=before_sleep,
            reraise=True,
        )
        try:
            result = retrying(call)
        except STORE_EXCEPTIONS as error:
            self._gave_up = is_transient(error)
            raise
        self._gave_up = False
        return result
