"""Listens on a port, and serves an application until it is told to stop."""

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import uvicorn
from starlette.types import ASGIApp

from florence_rag.errors import InputError
from florence_rag.server.config import ServerConfig
from florence_rag.server.connections import MAX_CONNECTIONS, WAIT_S, LimitedProtocol

STOP_AFTER_S = 5
"""After this many seconds, connections that are still open are closed."""


@contextmanager
def listening(config: ServerConfig) -> Iterator[socket.socket]:
    """Yield a socket that listens on the port, or raise InputError; do so before models are loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise InputError(f"the host {config.host!r} is not known; give an address of this machine") from error
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(128)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(
                    f"port {config.port} of {config.host} is in use; choose another one with --port, or 0 for any"
                ) from error
            raise InputError(
                f"{config.host}:{config.port} cannot be listened on ({error.strerror}); choose another host or port"
            ) from error
        yield listener


def base_url(config: ServerConfig, listener: socket.socket) -> str:
    """Return the address of the server, as a browser opens it."""
    host = "127.0.0.1" if config.is_local else config.host
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def page_url(config: ServerConfig, listener: socket.socket) -> str:
    """Return the address of the page with the token behind a "#", which browsers send to nobody."""
    return f"{base_url(config, listener)}/{f'#token={quote(config.token)}' if config.token else ''}"


def run(app: ASGIApp, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, and raise KeyboardInterrupt then. ready: called when requests are answered."""
    settings = uvicorn.Config(
        app,
        http=LimitedProtocol,
        ws="none",
        log_config=None,
        access_log=False,  # addresses of images and queries are nobody's business
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=WAIT_S,
        timeout_graceful_shutdown=STOP_AFTER_S,
    )
    _Server(settings, ready).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()
