"""What holds for every test: no network beyond this machine, and Ctrl-C interrupts."""

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.databases import SERVER, new_database

# Examples may take long on a busy machine.
settings.register_profile("no_time_limit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_time_limit")

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the names of the models that tests load out of the home of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


class NetworkBlocked(RuntimeError):
    """A test tried to leave this machine."""


def only_loopback(connect: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise NetworkBlocked(f"tests may not connect to {address!r}")
        return connect(self, address)

    return guarded


def only_local_names(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(host: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in (None, "", "0.0.0.0", *LOOPBACK):
            raise NetworkBlocked(f"tests may not look up {host!r}")
        return resolve(host, *rest, **options)

    return guarded


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Python's sockets reach this machine only, so that a forgotten download fails here and not at a user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", only_loopback(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", only_loopback(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", only_local_names(socket.getaddrinfo))
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture
def db(tmp_path: Path) -> Iterator[str]:
    """The address of a new database, which is on a server if FLORENCE_TEST_MILVUS names one."""
    with new_database(tmp_path) as uri:
        yield uri


@pytest.fixture(scope="session")
def server_profile() -> Any:
    """The profile of the server that FLORENCE_TEST_MILVUS names."""
    if not SERVER:
        return None
    from pymilvus import MilvusClient

    from florence_rag.index.store_profile import server_profile

    client = MilvusClient(SERVER, timeout=30, dedicated=True)
    version = client.get_server_version()
    client.close()
    return server_profile(version)


@pytest.fixture(autouse=True)
def skip_what_the_server_lacks(request: pytest.FixtureRequest) -> None:
    if not SERVER:
        return
    if request.node.get_closest_marker("lite"):
        pytest.skip("tests Milvus Lite")
    profile = request.getfixturevalue("server_profile")
    marker = request.node.get_closest_marker("needs")
    if marker and not all(getattr(profile, f"has_{feature}") for feature in marker.args):
        pytest.skip(f"{profile.name} lacks {' or '.join(marker.args)}")


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """A shell that starts a run in the background makes it and its children, which tests interrupt, ignore SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def open_databases() -> dict[Any, Any]:
    lite = sys.modules.get("florence_rag.index.lite.engine")
    return dict(lite.LiteDatabase.running) if lite else {}


@pytest.fixture(autouse=True)
def databases_are_closed() -> Iterator[None]:
    """Fail a test that leaves a database open, and stop the server of the database before the next test runs."""
    before = open_databases()
    yield
    left_open = {path: database for path, database in open_databases().items() if path not in before}
    for database in left_open.values():
        database.stop()
    assert not left_open


@pytest.fixture
def without_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets engines of Milvus Lite answer everybody, as a server without users does."""
    from florence_rag.index.lite.access import TokenAccess  # most tests need no store

    monkeypatch.setattr(TokenAccess, "intercept_service", lambda self, continuation, call: continuation(call))


@pytest.fixture
def engine_uri(tmp_path: Path, without_tokens: None) -> Iterator[str]:
    """Runs a Milvus Lite engine behind a port, which to the index is a server that several machines share."""
    from florence_rag.index.lite.internals import LiteEngine
    from florence_rag.index.lite.served import FREE_PORT, Endpoint

    engine = LiteEngine(tmp_path / "engine.db", Endpoint(FREE_PORT))
    yield engine.own_endpoint.uri
    engine.stop()
