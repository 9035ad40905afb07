"""A local stand-in for Azure AI Vision, which records its requests and fails as a test scripts it; and a clock."""

import io
import json
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

from florence_rag.embedding.azure_client import Clock

KEY = "0123456789abcdef-secret"
LONG_AGO_S = 1_780_000_000.0


@dataclass
class FakeTime:
    """A clock that sleeping advances without taking time."""

    now_s: float = 1000.0
    slept: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.slept.append(round(seconds, 6))
            self.now_s += seconds

    def clock(self, chance: float = 1.0) -> Clock:
        today = LONG_AGO_S - self.now_s
        return Clock(lambda: self.now_s, lambda: today + self.now_s, self.sleep, lambda: chance)


@dataclass
class Request:
    operation: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return json.loads(self.body)["text"]

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.body))


Answer = Callable[["Handler"], None]


@dataclass
class FakeAzure:
    """A server that answers the next requests by its `plan`, and all others as the service does."""

    plan: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    endpoint: str = ""
    most_at_once: int = 0
    _present: set[int] = field(default_factory=set)
    _lock: Any = field(default_factory=threading.Lock)

    def __enter__(self) -> "FakeAzure":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.fake = self
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def stop_listening(self) -> None:
        """Refuse all further connections."""
        self._server.server_close()

    def take(self, request: Request) -> Answer:
        with self._lock:
            self._present.add(id(request))
            self.most_at_once = max(self.most_at_once, len(self._present))
            self.requests.append(request)
            return self.plan.pop(0) if self.plan else well

    def leave(self, request: Request) -> None:
        with self._lock:
            self._present.discard(id(request))


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked = Request(url.path, query, dict(self.headers), body)
        answer = self.server.fake.take(self.asked)
        try:
            answer(self)
        finally:
            self.server.fake.leave(self.asked)

    def send_response(self, code: int, message: str | None = None) -> None:
        self.server.fake.leave(self.asked)  # a client that has the answer may send its next request at once
        super().send_response(code, message)

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def vector_of(request: Request) -> list[float]:
    """Return the mean color of an image, or noise from the letters of a text; the two versions are unrelated."""
    seed = zlib.crc32(request.query["model-version"].encode())
    if request.operation.endswith("vectorizeImage"):
        color = np.asarray(request.image.convert("RGB"), dtype=np.float64).mean((0, 1)) / 255 + 0.01
        vector = np.resize(color, 1024) * np.random.default_rng(seed).normal(size=1024)
    else:
        vector = np.random.default_rng(seed ^ zlib.crc32(request.body)).normal(size=1024)
    return (3.0 * vector).tolist()


def well(handler: Handler) -> None:
    answer = {"modelVersion": handler.asked.query["model-version"], "vector": vector_of(handler.asked)}
    handler.reply(200, json.dumps(answer).encode(), Content_Type="application/json")


def status(code: int, message: str = "", **headers: str) -> Answer:
    body = json.dumps({"error": {"code": "Trouble", "message": message}}).encode() if message else b""
    return lambda handler: handler.reply(code, body, **headers)


def saying(body: bytes | str) -> Answer:
    return lambda handler: handler.reply(200, body.encode() if isinstance(body, str) else body)


def vector(values: Any, version: str = "2023-04-15") -> Answer:
    return saying(json.dumps({"modelVersion": version, "vector": values}))


def cut(handler: Handler) -> None:
    """Half an answer, then nothing more."""
    handler.send_response_only(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"vector": [0.1')
    handler.wfile.flush()
    handler.close_connection = True


def slow(seconds: float) -> Answer:
    def answer(handler: Handler) -> None:
        time.sleep(seconds)
        try:
            well(handler)
        except OSError:  # nobody waits any more
            handler.close_connection = True

    return answer
