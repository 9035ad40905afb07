import logging
import socket
import subprocess
import sys

import pytest
from pymilvus import MilvusClient, MilvusException

from florence_rag.errors import InputError, StoreError, StoreUnavailableError
from florence_rag.index import connection
from florence_rag.index import store_client as module
from florence_rag.index.address import Address
from florence_rag.index.client import server_problem
from florence_rag.index.connection import Connection
from florence_rag.index.lite.internals import LiteEngine
from florence_rag.index.lite.served import FREE_PORT, Endpoint
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.store_profile import SERVER


def test_a_server_that_is_not_there_is_named_within_seconds(open_index):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    for call in (lambda: open_index(uri=uri), lambda: MilvusIndex.recorded_embedders(uri)):
        with pytest.raises(
            StoreUnavailableError, match=f"no Milvus server answers at {uri} .nothing listens there.; start it"
        ):
            call()


def test_a_server_that_goes_away_is_named_within_seconds(open_index, monkeypatch, tmp_path, without_tokens):
    monkeypatch.setattr(module, "server_problem", lambda version: "")
    monkeypatch.setattr(module, "CONNECT_S", 1.0)
    monkeypatch.setattr(module, "MAX_WAIT_S", 1.0)
    engine = LiteEngine(tmp_path / "short.db", Endpoint(FREE_PORT))
    index = open_index(uri=engine.own_endpoint.uri)
    engine.stop()
    with pytest.raises(StoreUnavailableError, match="no Milvus server answers"):
        index.sources()


@pytest.mark.parametrize(
    ("version", "problem"),
    [
        ("2.5.4", ""),
        ("2.3.5", ""),
        ("v2.4.15-lite", ""),
        ("v2.6.0-rc1", ""),
        ("3.0.0", ""),
        ("Zilliz Cloud", ""),
        ("2.2.16", "runs Milvus 2.2.16; upgrade it to 2.3 or later, or use a folder such as photos.db"),
        ("", "does not say its version, as a Milvus server does; check the port"),
        ("milvus_lite-3.2.2", "is a Milvus Lite server, which loses rows when two clients write; open its folder"),
    ],
)
def test_servers_that_are_too_old_or_lose_rows_are_refused(version, problem):
    assert server_problem(version).startswith(problem) and bool(problem) == bool(server_problem(version))


def test_the_refusal_names_the_server(engine_uri, open_index):
    with pytest.raises(StoreError, match=f"^{engine_uri} is a Milvus Lite server"):
        open_index(uri=engine_uri)


def test_an_index_on_a_server_works(engine_uri, open_index, put, unit, monkeypatch):
    """The engine behind a port has no lock and no planned flushes."""
    monkeypatch.setattr(module, "server_problem", lambda version: "")
    with open_index(uri=engine_uri, create=True) as index:
        assert index.chunks.connection.profile is SERVER
        put(index, "/a", n=3)
        put(index, "/b", n=2)
        assert {hit.source for hit in index.search_bm25("passage 1", 10)} == {"/a", "/b"}
        assert list(index.sources()) == ["/a", "/b"]
        assert index.info().index_type == "HNSW"
        assert index.delete_sources(["/a"]) == 3
    assert MilvusIndex.recorded_embedders(engine_uri)[0].name == "colors"
    with open_index(uri=engine_uri, create=False) as index:
        assert len(index.search_vector(unit()[0], 10)) == 2
    with pytest.raises(StoreUnavailableError, match=r"there is no index 'other' of http.*; create it with"):
        open_index(uri=engine_uri, collection="other", create=False)
    assert MilvusIndex.recorded_embedders(engine_uri, collection="other") is None


def test_after_close_every_call_says_so(index, put):
    put(index)
    index.close()
    index.close()
    for call in (index.sources, index.info, index.flush, lambda: index.get(["a"])):
        with pytest.raises(StoreError, match=r"test.db is closed; open it again"):
            call()


@pytest.mark.slow
def test_milvus_stays_off_the_terminal(db):
    script = f"""
import logging, os, sys
sys.path[:0] = {sys.path!r}
logging.basicConfig(level=logging.WARNING)
from florence_rag.errors import FlorenceError
from florence_rag.index.milvus import MilvusIndex
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

embedder = EmbedderInfo("none", "0", 2, "")
for _ in range(2):
    with MilvusIndex.open({db!r}, embedder) as index:
        source = Source("/a", "text", 1, 1, "h")
        index.begin(source)
        index.add([Chunk(source, "text", Locator(span=(i, i + 1)), "hello") for i in range(2000)], [[1.0, 0.0]] * 2000)
        index.complete(source)
        index.search_bm25("hello", 3)
        index.info()
        if os.fork() == 0:
            os._exit(0)
        os.wait()
        try:
            index.search_vector([1.0, 0.0], 3, filter="foo ==")
        except FlorenceError:
            pass
for uri in ("http://127.0.0.1:9", {db!r} + "/x/y.db"):
    try:
        MilvusIndex.open(uri, embedder)
    except FlorenceError:
        pass
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_an_application_may_still_handle_the_logs_of_milvus(index):
    heard = []

    class Listener(logging.Handler):
        def emit(self, record):
            heard.append(record.getMessage())

    listener = Listener()
    logging.getLogger("pymilvus").addHandler(listener)
    try:
        with pytest.raises(StoreError):
            index.chunks.connection.count("no_such_collection")
    finally:
        logging.getLogger("pymilvus").removeHandler(listener)
    assert "no_such_collection" in " ".join(heard)


class Server:
    """A client of a server. error: what building an index raises, as on a server without GPUs."""

    def __init__(self, version="v2.6.4", error: Exception | None = None, builds: bool | str = True) -> None:
        self.version, self.error, self.builds = version, error, builds
        self.rows = self.calls = 0
        self.collections: set[str] = set()
        self.made: list[str] = []

    def get_server_version(self, timeout):
        return self.version

    def create_collection(self, name, **_):
        self.collections.add(name)
        self.made.append(name)

    def list_indexes(self, *_, **__):
        return []

    def prepare_index_params(self):
        return MilvusClient.prepare_index_params()

    def create_index(self, *_, **__):
        if self.error:
            raise self.error

    def upsert(self, name, rows, timeout):
        self.rows = len(rows)

    def flush(self, name, timeout):
        self.calls += 1

    def describe_index(self, *_, **__):
        """Return what a server says: two thirds of the rows are indexed at each call, or none ever is."""
        self.calls += 1
        indexed = min(self.rows, self.rows * self.calls // 3) if self.builds else 0
        state = self.builds if isinstance(self.builds, str) else "Finished" if indexed == self.rows else "InProgress"
        return {"state": state, "index_type": "X", "total_rows": self.rows, "indexed_rows": indexed}

    def drop_collection(self, name, timeout):
        self.collections.discard(name)


NO_GPU = MilvusException(1100, "invalid parameter[expected=valid index][actual=invalid index type: GPU_CAGRA]")


def connected(server: Server) -> Connection:
    return Connection(Address.parse("http://127.0.0.1:19530"), server)


@pytest.mark.parametrize("name", ["gpu_cagra", "GPU_IVF_FLAT", "GPU_IVF_PQ", "GPU_BRUTE_FORCE"])
def test_a_server_without_gpus_is_refused_and_left_clean(name):
    server = Server(error=NO_GPU)
    with pytest.raises(InputError, match=f"'{name}' needs a Milvus server that was built for GPUs.*use HNSW"):
        connected(server).check_index_type(name, "fp32")
    assert len(server.made) == 1
    assert not server.collections


def test_a_server_with_gpus_is_asked_once_and_left_clean():
    server = Server()
    connected(server).check_index_type("GPU_CAGRA", "fp16")
    assert len(server.made) == 1
    assert not server.collections


def test_a_server_is_not_asked_for_types_that_every_server_has():
    server = Server(error=NO_GPU)
    connected(server).check_index_type("IVF_PQ", "fp32")
    assert not server.made


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_diskann_is_tried_on_a_few_rows(dtype, monkeypatch):
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    server = Server()
    connected(server).check_index_type("DISKANN", dtype)
    assert server.rows == 2048 and server.calls >= 3 and not server.collections


@pytest.mark.parametrize(
    ("builds", "problem"),
    [
        (False, r"does not build the index X: 0 of 2,048 rows of 'florence_probe_\w+' are indexed, no more since 0 s"),
        ("Failed", "cannot build the index X: .* are indexed; look at its log"),
    ],
)
def test_a_server_without_diskann_is_not_waited_for(builds, problem, monkeypatch):
    monkeypatch.setattr(module, "_PROBE_S", 0.1)
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    server = Server(builds=builds)
    with pytest.raises(InputError, match=f"^index type 'DISKANN' needs a Milvus server .* with DISKANN .*{problem}"):
        connected(server).check_index_type("DISKANN", "fp32")
    assert not server.collections


def test_an_index_that_makes_progress_is_waited_for(monkeypatch):
    monkeypatch.setattr(module, "_POLL_S", 0.01)
    server = Server()
    server.rows = 10
    connected(server)._wait_for_index("florence", "vector", stall_s=0.5)
    assert server.calls == 3


def test_the_version_is_checked_before_the_server_is_asked():
    server = Server(version="2.5.1")
    with pytest.raises(InputError, match=r"needs Milvus 2\.6"):
        connected(server).check_index_type("IVF_RABITQ", "fp32")
    assert not server.made


def test_a_server_that_is_gone_is_not_a_server_without_gpus(monkeypatch):
    monkeypatch.setattr(module, "MAX_WAIT_S", 0.0)
    with pytest.raises(StoreUnavailableError):
        connected(Server(error=MilvusException(2, "gone"))).check_index_type("GPU_CAGRA", "fp32")


def test_a_client_asks_for_its_own_writes_after_a_write_and_for_those_of_all_otherwise(open_index, put, monkeypatch):
    index = open_index()
    store, levels = index.chunks.connection, []
    query = store.client.query

    def read():
        store.rows_of("florence", ["any"], ["id"])

    def spy(*args, consistency_level="", **options):
        levels.append(consistency_level)
        return query(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(store.client, "query", spy)
        read()
    put(index)
    index.flush_buffer()
    monkeypatch.setattr(store.client, "query", spy)
    read()
    monkeypatch.setattr(connection, "_LAG_S", 0.0)
    read()
    assert levels == ["Bounded", "Session", "Bounded"]


def write(connection: Connection, rows: int) -> None:
    connection.upsert("florence", ({"id": str(i)} for i in range(rows)))
    connection.flush("florence")


def test_a_server_seals_the_rows_of_a_run_but_not_those_of_single_puts():
    connection = connected(server := Server())
    for _ in range(10):
        write(connection, 99)
    assert server.calls == 0
    write(connection, 10)
    assert server.calls == 1
    write(connection, 0)
    assert server.calls == 1


def test_a_user_who_may_not_flush_can_still_index(caplog):
    server = Server()
    server.flush = lambda *_, **__: (_ for _ in ()).throw(MilvusException(65535, "permission deny"))
    write(connected(server), 1000)
    assert "permission deny; all rows are stored, but a search with a narrow filter may miss" in caplog.text
