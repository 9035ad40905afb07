"""Real connections whose clients do nothing."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="needs the extra server")

from florence_rag.server import connections, run
from florence_rag.server.config import ServerConfig

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
ended = threading.Event()


async def app(scope, receive, send):
    """Answers with a few bytes, or for the path /much with more than any buffer holds."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(200 if scope["path"] == "/much" else 1):
        await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
    await send({"type": "http.response.body", "body": b"end"})
    ended.set()


@pytest.fixture
def connect(monkeypatch):
    """Returns a new connection to a server that waits half a second, and has five connections at most."""
    for module, name, value in (
        (connections, "WAIT_S", 0.5),
        (connections, "READ_S", 0.5),
        (connections, "MAX_CONNECTIONS", 5),
        (run, "MAX_CONNECTIONS", 5),
    ):
        monkeypatch.setattr(module, name, value)
    servers, opened, ready = [], [], threading.Event()
    monkeypatch.setattr(run._Server, "startup", _remembering(run._Server.startup, servers))
    with run.listening(ServerConfig(port=0)) as listener:
        thread = threading.Thread(target=run.run, args=(app, listener, ready.set))
        thread.start()
        assert ready.wait(30)

        def connect() -> socket.socket:
            opened.append(socket.create_connection(listener.getsockname()))
            opened[-1].settimeout(20)
            return opened[-1]

        yield connect
        for each in opened:
            each.close()
        servers[0].should_exit = True
        thread.join()


def _remembering(startup, servers):
    async def remember(self, sockets=None):
        servers.append(self)
        await startup(self, sockets)

    return remember


@contextmanager
def sending(connection: socket.socket, part: bytes):
    """Send a part again and again until the server closes the connection."""

    def send() -> None:
        try:
            while True:
                connection.sendall(part)
                time.sleep(0.1)
        except OSError:
            pass

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


def is_closed(connection: socket.socket) -> bool:
    """Wait for the end of a connection."""
    try:
        while connection.recv(1_000_000):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_a_connection_without_a_request_is_closed(connect):
    silent, dripping, again = connect(), connect(), connect()
    again.sendall(REQUEST)
    dripping.sendall(b"GET / HTTP/1.1\r\nHo")
    with sending(dripping, b"s"):
        assert is_closed(silent) and is_closed(dripping) and is_closed(again)


def test_silent_connections_keep_nobody_out(connect, monkeypatch):
    monkeypatch.setattr(connections, "WAIT_S", 60)
    silent = [connect() for _ in range(9)]
    client = connect()
    client.sendall(REQUEST)
    assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert is_closed(silent[0])


def test_a_client_that_does_not_read_is_given_up(connect):
    ended.clear()
    lazy = connect()
    lazy.sendall(REQUEST.replace(b"/ ", b"/much "))
    assert ended.wait(20)


def test_a_client_that_reads_receives_everything(connect):
    client = connect()
    client.sendall(REQUEST.replace(b"/ ", b"/much ").replace(b"1.1\r\n", b"1.1\r\nConnection: close\r\n"))
    received = 0
    while part := client.recv(1_000_000):
        received += len(part)
    assert received > 200_000_000
