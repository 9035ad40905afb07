"""Tests of calls to a server whose connections are cut, that restarts, or that stays away."""

import socket
import threading
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import grpc
import pytest
from pymilvus import MilvusException

from florence_rag.errors import StoreError, StoreUnavailableError
from florence_rag.index import store_client
from florence_rag.index.address import Address
from florence_rag.index.connection import Connection
from florence_rag.index.lite.internals import LiteEngine
from florence_rag.index.lite.served import FREE_PORT, Endpoint
from florence_rag.index.store_errors import is_not_loaded, is_transient


class Proxy:
    """Forwards TCP connections to a port, until they are cut."""

    def __init__(self):
        self.target = 0
        self.cuts = 0
        self.answers_to_lose = 0
        self._live = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        live, self._live = self._live, set()
        self.cuts += bool(live)
        for end in live:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self):
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                self._live |= {near, far}
                for pair in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source, sink, answers):
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.answers_to_lose:
                    self.answers_to_lose -= 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Server:
    """Milvus Lite behind a proxy. A restart changes its port, but not that of the proxy."""

    def __init__(self, folder):
        self.path = folder / "engine.db"
        self.proxy = Proxy()
        self.start()

    def start(self):
        self.engine = LiteEngine(self.path, Endpoint(FREE_PORT))
        self.proxy.target = int(self.engine.own_endpoint.target.rpartition(":")[2])

    def stop(self):
        self.proxy.target = 1  # where nobody listens
        self.proxy.cut()
        self.engine.stop()


@pytest.fixture
def server(tmp_path, monkeypatch, without_tokens):
    monkeypatch.setattr(store_client, "server_problem", lambda version: "")
    monkeypatch.setattr(store_client, "MAX_PAUSE_S", 0.3)
    server = Server(tmp_path)
    yield server
    server.proxy.close()
    with suppress(Exception):
        server.stop()


@pytest.fixture
def remote(server, open_index):
    return open_index(uri=f"http://127.0.0.1:{server.proxy.port}")


@contextmanager
def meanwhile(work):
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    yield
    over.set()
    thread.join()


def rows_of(index):
    return sorted(row["id"] for row in index.chunks.connection.rows("florence", ["id"]))


def test_cut_connections_lose_and_duplicate_nothing(server, remote, put, chunks):
    def cut(over):
        while not over.wait(0.03):
            server.proxy.cut()

    sources = []
    with meanwhile(cut):
        while server.proxy.cuts < 5:
            sources.append(put(remote, f"/{len(sources)}.jpg", n=3))
            remote.flush_buffer()
        remote.flush()
    assert set(remote.sources()) == {source.uri for source in sources}
    assert rows_of(remote) == sorted(chunk.id for source in sources for chunk in chunks(source, 3))


def test_a_write_whose_answer_was_lost_is_not_duplicated(server, remote, put, chunks):
    sources = [put(remote, f"/{number}.jpg", n=3) for number in range(3)]
    server.proxy.answers_to_lose = 3
    remote.flush_buffer()
    assert server.proxy.answers_to_lose == 0
    assert list(remote.sources()) == [source.uri for source in sources]
    assert rows_of(remote) == sorted(chunk.id for source in sources for chunk in chunks(source, 3))


def test_calls_wait_for_a_server_that_restarts(server, remote, put, unit):
    put(remote, "/a.jpg", n=2)
    remote.flush_buffer()
    server.stop()
    threading.Timer(0.5, server.start).start()
    put(remote, "/b.jpg", n=3)
    remote.flush_buffer()
    assert list(remote.sources()) == ["/a.jpg", "/b.jpg"]
    assert len(rows_of(remote)) == 5
    assert len(remote.search_vector(unit(1)[0], 9)) == 5


def test_a_server_that_stays_away_is_named_and_the_run_can_be_repeated(server, open_index, put, monkeypatch):
    monkeypatch.setattr(store_client, "MAX_WAIT_S", 0.5)
    uri = f"http://127.0.0.1:{server.proxy.port}"
    index = open_index(uri=uri)
    put(index, "/a.jpg", n=2)
    index.flush_buffer()
    server.stop()
    put(index, "/b.jpg", n=3)
    with pytest.raises(StoreUnavailableError, match=f"^no Milvus server answers at {uri} [(].*[)], for 0 s now; when"):
        index.flush_buffer()
    pauses = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=pauses.append))
    with pytest.raises(StoreUnavailableError):  # later calls are not repeated
        index.close()
    assert pauses == []

    server.start()
    again = open_index(uri=uri)
    assert list(again.sources()) == ["/a.jpg"]
    put(again, "/b.jpg", n=3)
    assert list(again.sources()) == ["/a.jpg", "/b.jpg"]
    assert len(rows_of(again)) == 5


class FailingOnce:
    """A client whose first call to a collection raises this error."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls: list[str] = []

    def get_server_version(self, timeout):
        return "2.6.4"

    def has_collection(self, name, timeout):
        self.calls.append("has")
        if self.calls == ["has"]:
            raise self.error
        return True

    def load_collection(self, name, timeout):
        self.calls.append("load")


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (MilvusException(2, "Fail connecting"), True),
        (MilvusException(grpc.StatusCode.UNAVAILABLE, "x"), True),
        (MilvusException(106, "collection on recovering"), True),
        (MilvusException(101, "collection not loaded"), True),
        (MilvusException(1, "service not ready"), True),
        (MilvusException(65535, "empty grpc client: failed to connect 127.0.0.1:53100, reason: refused"), True),
        (MilvusException(1, "No space left on device"), False),
        (MilvusException(1100, "invalid parameter"), False),
        (MilvusException(grpc.StatusCode.DEADLINE_EXCEEDED, "x"), False),
        (ValueError("x"), False),
    ],
)
def test_only_transient_errors_are_retried(error, passing, monkeypatch):
    monkeypatch.setattr(store_client, "FIRST_PAUSE_S", 0.001)
    client = FailingOnce(error)
    store = Connection(Address.parse("http://127.0.0.1:19530"), client, max_wait_s=5.0)
    assert is_transient(error) == passing
    if passing:
        assert store.has("a")
        assert client.calls == (["has", "load", "has"] if is_not_loaded(error) else ["has", "has"])
    else:
        with pytest.raises((StoreError, ValueError)):
            store.has("a")
        assert client.calls == ["has"]
