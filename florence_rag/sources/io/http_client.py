"""Opens HTTP clients whose waits all end at the deadline of `time_limit`.

A server that sends a byte now and then never exceeds a timeout of httpx, in headers as little as in a body. Here every
wait, for a name, a connection, TLS, headers and body, is limited by the time that is left.
"""

import ssl
from typing import Any

import httpcore
import httpx

from florence_rag.sources.io.deadline import seconds_left
from florence_rag.sources.io.ip_guard import resolve


def open_client(**options: Any) -> httpx.Client:
    """Return a client with options of httpx, whose connections, also those to proxies, obey `time_limit`."""
    client = httpx.Client(**options)
    transports: list[Any] = [client._transport, *client._mounts.values()]
    for transport in filter(None, transports):
        # httpcore's pools take a backend, but httpx has no option for it.
        transport._pool._network_backend = _Backend()
    return client


class _Backend(httpcore.NetworkBackend):
    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *args: Any, **options: Any) -> "_Stream":
        """Connect to the first address of a host that accepts."""
        addresses = self._addresses(host, port)
        for address in addresses:
            try:
                left_s = _left_s(timeout)
                return _Stream(httpcore.SyncBackend().connect_tcp(address, port, left_s, *args, **options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise httpcore.ConnectError(f"{host!r:.80} has no address")

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            return list(dict.fromkeys(resolve(host, port)))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error


class _Stream(httpcore.NetworkStream):
    """A connection that waits no longer than until the deadline."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self.close = stream.close  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left_s(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left_s(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left_s(timeout)))


def _left_s(timeout: float | None) -> float | None:
    """Return the time for a wait; raise at the deadline, also if bytes are there: a server may send without end."""
    left_s = seconds_left(timeout)
    if left_s == 0:
        raise httpcore.ReadTimeout("the deadline has passed")
    return left_s
