"""Tests of Milvus' bulk import against a REST server that answers as Milvus does."""

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from florence_rag.errors import InputError, StoreError, StoreUnavailableError
from florence_rag.index.bulk import server_import
from florence_rag.index.bulk.export import export
from florence_rag.index.store_profile import SERVER


class Milvus:
    """The REST interface of a server, and a fake connection to it. answers: those to get_progress, in turn."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict, str | None]] = []
        self.answers = [{"state": "Importing", "progress": 50}, {"state": "Completed", "progress": 100}]
        self.refusal: dict | None = None
        self.collections: set[str] = set()
        self.profile, self.version = SERVER, "v2.6.4"

    def answer(self, path: str, body: dict, token: str | None) -> dict:
        self.requests.append((path.rpartition("/")[2], body, token))
        if self.refusal:
            return self.refusal
        if path.endswith("/create"):
            return {"code": 0, "data": {"jobId": body["collectionName"]}}
        return {"code": 0, "data": self.answers[sum(each[0] == "get_progress" for each in self.requests) % 2 - 1]}

    def check_index_type(self, name: str, dtype: str) -> None:
        SERVER.check_index_type(name, self.version)

    def has(self, name: str) -> bool:
        return name in self.collections

    def open_collection(self, spec) -> None:
        self.collections.add(spec.name)
        self.specs = [*getattr(self, "specs", []), spec]

    def close(self) -> None:
        pass


@pytest.fixture
def milvus():
    server = Milvus()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            record = json.dumps(server.answer(self.path, body, self.headers.get("Authorization"))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(record)))
            self.end_headers()
            self.wfile.write(record)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    server.uri = f"http://127.0.0.1:{http.server_port}"
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def import_uploaded(milvus):
    """Imports through the fake connection, without pauses."""
    return partial(server_import.import_uploaded, connect=lambda *_: milvus, pause_s=0.0)


@pytest.fixture
def bulk(open_index, put, tmp_path) -> Path:
    index = open_index()
    put(index, n=25)
    export(index, tmp_path / "bulk", rows_per_file=10)
    return tmp_path / "bulk"


def test_chunks_are_imported_before_the_ledger_that_vouches_for_them(import_uploaded, milvus, bulk):
    reported = []
    files = import_uploaded(bulk, milvus.uri, "/exports/1/", token="key", progress=lambda *each: reported.append(each))
    assert files.rows == 25
    created = [(body["collectionName"], body["files"]) for what, body, _ in milvus.requests if what == "create"]
    assert created == [
        ("florence", [[f"exports/1/chunks/0000{n}.parquet"] for n in range(3)]),
        ("florence_ledger", [["exports/1/ledger/00000.parquet"]]),
    ]
    assert {token for *_, token in milvus.requests} == {"Bearer key"}
    assert [name for name, share in reported if share == 1] == ["florence", "florence_ledger"]
    assert milvus.collections == {"florence", "florence_ledger"}
    assert not next(spec for spec in milvus.specs if spec.name == "florence").schema.enable_dynamic_field


def test_a_job_that_fails_says_why_and_leaves_no_complete_ledger(import_uploaded, milvus, bulk):
    milvus.answers = [{"state": "Failed", "reason": "no such file"}] * 2
    with pytest.raises(StoreError, match=r"could not import 'florence' \(no such file\); drop the collections"):
        import_uploaded(bulk, milvus.uri, "x")
    assert [body["collectionName"] for what, body, _ in milvus.requests if what == "create"] == ["florence"]


def test_a_refusal_is_passed_on(import_uploaded, milvus, bulk):
    milvus.refusal = {"code": 1800, "message": "user hasn't authenticated"}
    with pytest.raises(StoreError, match="refuses the import \\(user hasn't authenticated\\)"):
        import_uploaded(bulk, milvus.uri, "x")


def test_a_server_that_is_not_milvus_is_refused(import_uploaded, milvus, bulk):
    milvus.refusal = {"hello": 1}
    with pytest.raises(StoreUnavailableError, match=r"REST interface of .* does not answer"):
        import_uploaded(bulk, milvus.uri, "x")


def test_existing_collections_are_not_imported_into(import_uploaded, milvus, bulk):
    milvus.collections.add("florence")
    with pytest.raises(InputError, match="'florence' is there already; name a new one"):
        import_uploaded(bulk, milvus.uri, "x")
    assert not milvus.requests


def test_lite_imports_no_files_of_its_own(bulk, tmp_path):
    with pytest.raises(InputError, match="omit --uploaded"):
        server_import.import_uploaded(bulk, str(tmp_path / "a.db"), "x")


def test_a_server_that_cannot_build_the_index_is_not_changed(import_uploaded, milvus, bulk):
    milvus.version = "2.5.3"
    with pytest.raises(InputError, match=r"needs Milvus 2\.6"):
        import_uploaded(bulk, milvus.uri, "x", index_type="ivf_rabitq")
    assert not milvus.collections
