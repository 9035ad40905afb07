"""Closes connections whose clients do nothing, so that they keep nobody out.

A client has a connection while it sends the headers of a request, waits for the response, and reads it. uvicorn limits
only the time after a response.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 500
WAIT_S = 30
"""The longest wait for the headers of a request."""
READ_S = 120
"""The longest wait for a client to read what is ready for it."""


class LimitedProtocol(H11Protocol):
    """A connection that is closed if a request, or the client's reading of its response, takes too long.

    If there are too many connections, a new one takes the place of the one that has waited for a request longest.
    """

    _waiting: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        present = [each for each in self.connections if not each.transport.is_closing()]
        if len(present) >= MAX_CONNECTIONS:
            waiting = [each for each in present if isinstance(each, LimitedProtocol) and each._waiting]
            if waiting:
                min(waiting, key=_waiting_since).transport.abort()
        self._waiting = self.loop.call_later(WAIT_S, transport.abort)

    def handle_events(self) -> None:
        """Stop waiting when a request has come."""
        super().handle_events()
        if self._waiting and self.cycle and not self.cycle.response_complete:
            self._waiting.cancel()
            self._waiting = None

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        if not self.transport.is_closing():
            self._waiting = self.loop.call_later(WAIT_S, self.transport.abort)
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._reading = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting, because the client has read."""
        super().resume_writing()
        if self._reading:
            self._reading.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all waiting, because the connection is closed."""
        for timer in (self._waiting, self._reading):
            if timer:
                timer.cancel()
        self._waiting = None
        super().connection_lost(exc)


def _waiting_since(connection: LimitedProtocol) -> float:
    assert connection._waiting
    return connection._waiting.when()
