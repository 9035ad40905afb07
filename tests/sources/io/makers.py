"""Images, tars, tables and a web server for tests."""

import contextlib
import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from florence_rag.sources.io import open_uri
from florence_rag.testing import color_frame


def png(color: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(color_frame(color)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: Mapping[str, bytes | str]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            data = data.encode() if isinstance(data, str) else data
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns: Mapping[str, list[Any]], rows_at_once: int = 2) -> Path:
    pq.write_table(pa.table(dict(columns)), path, row_group_size=rows_at_once)
    return path


@dataclass
class Page:
    """The response of a server; `claimed_bytes` is a wrong Content-Length."""

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    claimed_bytes: int | None = None
    supports_head: bool = True
    ranges: bool = False


@dataclass
class Site:
    """A running server: its pages by path, and the (method, path) of all requests."""

    url: str
    pages: dict[str, Page]
    requests: list[tuple[str, str]]


@contextmanager
def serving(pages: dict[str, Page]) -> Iterator[Site]:
    requests: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            requests.append((self.command, self.path))
            page = pages.get(self.path.partition("?")[0], Page(status=404))
            status, body = page.status, page.body
            if self.command == "HEAD" and not page.supports_head:
                status, body = 405, b""
            if page.ranges and (wanted := self.headers.get("Range")):
                first, last = map(int, wanted.removeprefix("bytes=").split("-"))
                status, body = 206, body[first : last + 1]
            self.send_response(status)
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) if page.claimed_bytes is None else page.claimed_bytes))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_GET = do_HEAD = answer

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Site(f"http://127.0.0.1:{server.server_address[1]}", pages, requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def make(*names: str) -> None:
    """Write files that contain their own names."""
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def _drip(block: bytes, pause_s: float = 0.05) -> Callable[[socket.socket], None]:
    """Send a block again and again, for longer than any test waits."""

    def run(connection: socket.socket) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            connection.sendall(block)
            time.sleep(pause_s)

    return run


def _then(start: bytes, drip: Callable[[socket.socket], None], wait_s: float = 0.0) -> Callable[[socket.socket], None]:
    def run(connection: socket.socket) -> None:
        connection.sendall(start)
        time.sleep(wait_s)
        drip(connection)

    return run


_OK = b"HTTP/1.1 200 OK\r\n"
SLOW: dict[str, Callable[[socket.socket], None]] = {
    "dripped headers": _then(_OK, _drip(b"X-1: a\r\n")),
    "dripped body": _then(_OK + b"Content-Length: 99999\r\n\r\n", _drip(b"x")),
    "dripped chunks": _then(_OK + b"Transfer-Encoding: chunked\r\n\r\n", _drip(b"1\r\nx\r\n")),
    "one long header": _then(_OK + b"X-1: ", _drip(b"a")),
    "endless interim answers": _drip(b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.0001),
    "headers, then silence": _then(_OK, _then(b"X-1: a\r\n", lambda _: time.sleep(60), 0.4)),
    "silence in TLS": lambda _: time.sleep(60),
}
"""Servers that are slow after a request, each in its own way."""


@contextmanager
def slow_server(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Yield the port of a server that reads one request from each connection and then behaves as given."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve(connection: socket.socket) -> None:
            with contextlib.suppress(OSError), connection:
                connection.recv(9_999)
                behave(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]


def read_and_tell_process(uri):
    """Read a source and yield the number of the process."""
    open_uri(uri).close()
    yield os.getpid()
