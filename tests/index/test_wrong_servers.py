"""Addresses at which no index can live: one line says why, in seconds, and nothing is written there."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2

from florence_rag.errors import StoreError, StoreMismatchError, StoreUnavailableError
from florence_rag.index import client as client_module
from florence_rag.index import store_client
from florence_rag.types import EmbedderInfo


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch):
    monkeypatch.setattr(client_module, "CONNECT_S", 2.0)
    monkeypatch.setattr(store_client, "CONNECT_S", 2.0)


@contextmanager
def tcp_server(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """The address of a server that treats each connection in this way, and then closes it."""

    def serve() -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            with client:
                answer(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


class Calls(grpc.GenericRpcHandler):
    """Answers some methods, as a gRPC server without a schema, and records all that are called."""

    def __init__(self, **answers: bytes) -> None:
        self.answers, self.called = answers, []

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        name = call.method.rpartition("/")[2]
        self.called.append(name)
        if name not in self.answers:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self.answers[name])


@contextmanager
def grpc_server(calls: Calls, credentials: grpc.ServerCredentials | None = None) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2), handlers=[calls])
    place = "127.0.0.1:0"
    port = server.add_secure_port(place, credentials) if credentials else server.add_insecure_port(place)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(0)


def versioned(version: str) -> Calls:
    return Calls(Connect=b"", GetVersion=milvus_pb2.GetVersionResponse(version=version).SerializeToString())


@pytest.mark.parametrize(
    "answer",
    [
        lambda client: None,
        lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
        lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        lambda client: client.sendall(b"\x15\x03\x03\x00\x02\x02\x46"),  # a server of TLS that was not greeted
        lambda client: client.sendall(os.urandom(300)),
    ],
    ids=["closes", "ssh", "http", "tls", "noise"],
)
def test_another_program_is_no_server(answer, open_index):
    with (
        tcp_server(answer) as place,
        pytest.raises(StoreUnavailableError, match=rf"{place} \(another program does\); check the port.* https://$"),
    ):
        open_index(uri=f"http://{place}")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_never_answers_is_given_up(scheme, open_index, monkeypatch):
    monkeypatch.setattr(client_module, "CONNECT_S", 0.3)
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(StoreUnavailableError, match=r"\(it does not answer in time\); start it"),
    ):
        open_index(uri=f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")


def test_an_unknown_host_is_named(open_index):
    with pytest.raises(
        StoreUnavailableError, match=r"http://no-such-host\.invalid:19530 \(its host is unknown\); corr"
    ):
        open_index(uri="http://no-such-host.invalid:19530")


@pytest.mark.parametrize(
    ("calls", "problem"),
    [
        (Calls(), r"is no Milvus server of version 2\.3 or later \(Method not found!\)"),
        (Calls(Connect=b""), r"is no Milvus server of version 2\.3 or later"),
        (Calls(Connect=b"\xff\xff\xff"), r"\(another program does\)"),
        (Calls(Connect=b"", GetVersion=b""), "does not say its version"),
        (versioned("2.2.16"), r"runs Milvus 2\.2\.16; upgrade it to 2\.3 or later"),
        (versioned("v2.1.4"), r"runs Milvus v2\.1\.4; upgrade it to 2\.3 or later"),
    ],
)
def test_another_service_and_an_old_server_are_refused_without_a_write(calls, problem, open_index):
    with grpc_server(calls) as place, pytest.raises(StoreError, match=problem):
        open_index(uri=f"http://{place}")
    assert set(calls.called) <= {"Connect", "GetVersion"}


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, r"refuses access \(no\); give a valid token"),
        (grpc.StatusCode.PERMISSION_DENIED, r"denies a right \(no\); ask for it, or give the token of another user"),
    ],
)
def test_a_server_that_refuses_the_token_is_not_reported_as_absent(status, problem, open_index):
    class Refusing(Calls):
        def service(self, call):
            return grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(status, "no"))

    with grpc_server(Refusing()) as place, pytest.raises(StoreUnavailableError, match=problem):
        open_index(uri=f"http://{place}", token="root:wrong")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
def test_a_mismatch_of_tls_is_named_and_nothing_else_is_printed(tmp_path, open_index):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *curve, *names, *files], check=True, capture_output=True)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])

    with grpc_server(versioned("2.2.0"), credentials) as place, grpc_server(versioned("2.2.0")) as plain:
        secure = f"localhost:{place.rpartition(':')[2]}"
        with pytest.raises(StoreUnavailableError, match=r"\(its certificate is not trusted\); name the file of its"):
            open_index(uri=f"https://{secure}")
        script = f"""
from florence_rag.errors import StoreError
from florence_rag.index.milvus import MilvusIndex
for uri in ("https://{secure}", "http://{secure}", "https://{plain}"):
    try:
        MilvusIndex.recorded_embedders(uri)
    except StoreError as error:
        print(error)
"""
        paths = {"PYTHONPATH": os.pathsep.join(sys.path), "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate)}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, env=os.environ | paths, capture_output=True, text=True, timeout=60)
    trusted, missing, needless = done.stdout.splitlines()
    assert "runs Milvus 2.2.0; upgrade it to 2.3 or later" in trusted
    assert missing.endswith("whether the address must begin with https://")
    assert needless.endswith("(it does not speak TLS); use http:// instead of https://")
    assert done.stderr == ""


SERVER = pytest.mark.skipif("FLORENCE_TEST_MILVUS" not in os.environ, reason="needs a Milvus server")


@pytest.fixture
def client(db) -> Iterator[MilvusClient]:
    client = MilvusClient(db, timeout=30, dedicated=True)
    yield client
    client.close()


def create_foreign(client: MilvusClient, name: str, key: DataType = DataType.INT64, **rest: int) -> None:
    """Replace a collection by one of another program."""
    if client.has_collection(name):
        client.drop_collection(name)
    schema = client.create_schema()
    schema.add_field("id", key, is_primary=True, max_length=64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=rest.get("dim", 4))
    client.create_collection(name, schema=schema)


@SERVER
@pytest.mark.parametrize("key", [DataType.INT64, DataType.VARCHAR])
@pytest.mark.parametrize("name", ["florence", "florence_ledger"])
def test_a_collection_of_another_program_is_refused_and_stays(name, key, client, db, open_index):
    create_foreign(client, name, key)
    before = client.describe_collection(name)
    with pytest.raises(StoreMismatchError, match=f"collection '{name}' of .* was created by another program"):
        open_index(uri=db)
    assert client.list_collections() == [name] and client.list_indexes(name) == []
    assert client.describe_collection(name) == before


@SERVER
@pytest.mark.parametrize("key", [DataType.INT64, DataType.VARCHAR])
def test_an_index_whose_chunks_another_program_replaced_is_refused(key, client, db, open_index, put):
    with open_index(uri=db) as index:
        put(index)
    create_foreign(client, "florence", key, dim=8)
    for create in (True, False):
        with pytest.raises(StoreMismatchError, match=r"created by another program \(it.*\); choose another name"):
            open_index(uri=db, create=create)
    assert client.list_indexes("florence") == []


@SERVER
def test_an_unknown_database_is_named(db, open_index):
    with pytest.raises(StoreUnavailableError, match=r"x: database.*not found.*; create it on the server, or omit it"):
        open_index(uri=f"{db}x")


@SERVER
def test_a_collection_that_is_dropped_under_a_reader_and_a_writer(client, db, open_index, put, unit):
    reader, writer = open_index(uri=db), open_index(uri=db)
    put(writer, n=2)
    writer.flush_buffer()
    assert len(writer.search_vector(unit()[0], 5)) == 2
    for name in client.list_collections():
        client.drop_collection(name)
    for call in (lambda: reader.search_vector(unit()[0], 5), reader.sources, lambda: put(writer, "/b"), writer.flush):
        with pytest.raises(StoreMismatchError, match="the index was deleted or moved to another model: open it again"):
            call()
            writer.flush_buffer()
    with suppress(StoreError):
        writer.close()
    assert client.list_collections() == []


@SERVER
@pytest.mark.parametrize("dimension", [8, 11])
def test_an_index_that_is_created_again_for_another_model_takes_no_vectors(
    dimension, client, db, open_index, put, unit
):
    old = open_index(uri=db)
    put(old)
    old.flush_buffer()
    for name in client.list_collections():
        client.drop_collection(name)
    new = open_index(uri=db, embedder=EmbedderInfo("other", "0", dimension, "none"))
    with pytest.raises(StoreMismatchError, match="now has the vectors of other: open it again"):
        put(old, "/b")  # which may already flush the buffer
        old.flush_buffer()
    assert not new.sources()
