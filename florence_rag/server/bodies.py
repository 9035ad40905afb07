"""Limits the bodies of requests: their size, how fast they come, how many values they hold, and all of them together.

A body of JSON is parsed while all other requests wait, so what would take long to parse is refused while it comes.
"""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

BODY_TIMEOUT_S = 60.0
"""The longest wait between two parts of a body."""
LEAST_BYTES_PER_S = 10_000
"""How fast a body must come, after the first minute."""
MAX_VALUES = 1_000_000
"""The values and separators in a body of JSON, which is parsed in about 0.2 s."""
MAX_BYTES_AT_ONCE = 256_000_000
"""The bodies of JSON of all requests that are being answered."""


class Bodies:
    """How many bytes the bodies of all requests take in memory."""

    def __init__(self) -> None:
        self.bytes = 0


class Body:
    """The body of one request. Its `receive` raises HTTPException when a limit is exceeded.

    Args:
        receive: Returns the next message of the client.
        max_bytes: The largest body.
        bodies: Where it counts until `release`; None for a body that is not kept in memory, such as an upload.
    """

    def __init__(self, receive: Receive, max_bytes: int, bodies: Bodies | None) -> None:
        self._receive, self._max_bytes, self._bodies = receive, max_bytes, bodies
        self._started: float | None = None
        self._bytes = self._values = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """Return the next message."""
        if self._is_complete:
            return await self._receive()  # waits until the client leaves
        message = await self._next()
        self._count(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        return message

    def release(self) -> None:
        """Give back the memory that the body is counted with."""
        if self._bodies:
            self._bodies.bytes -= self._bytes

    async def _next(self) -> Message:
        now = asyncio.get_running_loop().time()
        self._started = now if self._started is None else self._started  # not while the request waits for its turn
        left_s = BODY_TIMEOUT_S + self._bytes / LEAST_BYTES_PER_S - (now - self._started)
        try:
            return await asyncio.wait_for(self._receive(), min(left_s, BODY_TIMEOUT_S))
        except TimeoutError:
            raise HTTPException(408, "the body of the request comes too slowly") from None

    def _count(self, part: bytes) -> None:
        self._bytes += len(part)
        if self._bytes > self._max_bytes:
            self._bytes -= len(part)  # which nobody keeps
            raise HTTPException(413, f"the request is larger than {self._max_bytes:,} bytes")
        if self._bodies is None:
            return
        self._bodies.bytes += len(part)
        if self._bodies.bytes > MAX_BYTES_AT_ONCE:
            raise HTTPException(503, "the server is busy; try again", {"retry-after": "2"})
        self._values += part.count(b",") + part.count(b"[") + part.count(b"{")
        if self._values > MAX_VALUES:
            raise HTTPException(413, f"the request has more than {MAX_VALUES:,} values")
