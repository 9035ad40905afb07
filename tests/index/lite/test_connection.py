from pathlib import Path

import pytest

from florence_rag.errors import InputError, StoreUnavailableError
from florence_rag.index.address import Address
from florence_rag.index.client import ColumnClient
from florence_rag.index.lite.connection import LiteConnection
from florence_rag.index.lite.engine import LiteDatabase
from florence_rag.index.schema import ledger_spec


@pytest.fixture
def connection(db):
    connection = LiteConnection.start(Address.parse(db), create=True)
    yield connection
    connection.close()


def test_the_address_of_a_server_is_refused():
    with pytest.raises(InputError, match="is not a folder name; Milvus Lite needs a folder"):
        LiteConnection.start(Address.parse("http://127.0.0.1:19530"), create=True)


def test_a_missing_database_is_not_created_without_permission(db):
    with pytest.raises(StoreUnavailableError, match="there is no database"):
        LiteConnection.start(Address.parse(db), create=False)
    assert not Path(db).exists()


def test_the_last_connection_stops_the_engine(db, connection):
    second = LiteConnection.start(Address.parse(db), create=False)
    connection.close()
    connection.close()
    assert Path(db) in LiteDatabase.running
    assert second.version.startswith("milvus_lite")
    second.close()
    assert Path(db) not in LiteDatabase.running


def test_a_stopped_database_is_released_without_an_error(db, connection):
    LiteDatabase.running[Path(db)].stop()
    assert Path(db) not in LiteDatabase.running
    connection.close()
    again = LiteConnection.start(Address.parse(db), create=False)
    again.close()


def test_dropping_leaves_neither_the_collection_nor_a_note(db, connection):
    connection.open_collection(ledger_spec("a"))
    row = {"id": "x", "state": "s", "body": "{}", "vector": [0.0, 0.0]}
    connection.upsert("a", [row])
    assert [each["id"] for each in connection.rows("a", ["id"])] == ["x"]
    connection.drop("a")
    assert not connection.has("a")
    assert not list(Path(db).glob(".dropping-*"))


@pytest.mark.parametrize("index_type", ["HNSW", "HNSW_SQ", "IVF_FLAT"])
def test_an_index_file_that_a_kill_cut_short_is_built_again(db, open_index, put, unit, index_type):
    with open_index(index_type=index_type) as index:
        put(index, n=600)
    with open_index() as index:
        before = index.search_vector(unit()[0], 5)
    cut = [path for path in Path(db).rglob("*.idx") if "vector" in path.name]
    assert cut
    for path in cut:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    for _ in range(2):
        with open_index() as index:
            assert index.search_vector(unit()[0], 5) == before
            assert index.info().index_type == index_type


def test_an_index_type_that_lite_does_not_load_is_replaced(db, open_index, put, unit):
    with open_index() as index:
        put(index, n=50)
        before = index.search_vector(unit()[0], 5)
    manifest = Path(db, "collections", "florence", "manifest.json")
    for path in (manifest, manifest.with_suffix(".json.prev")):
        path.write_text(path.read_text().replace('"FLAT"', '"DISKANN"'))
    for path in Path(db).rglob("*.idx"):
        path.unlink()
    for _ in range(2):
        with open_index() as index:
            assert index.info().index_type == "FLAT"
            assert index.search_vector(unit()[0], 5) == before


ODD_IDS = [
    "a",
    "A",
    "b c",
    'q"q',
    "back\\slash",
    "line\nbreak",
    "é",
    "日",
    "\U0001f600",
    "'",
    "%",
    "_",
    "x'] or id in ['a",
]


def test_rows_come_in_pages_each_once(monkeypatch, connection):
    monkeypatch.setattr("florence_rag.index.lite.connection._PAGE_ROWS", 3)
    connection.open_collection(ledger_spec("a"))
    connection.upsert("a", [{"id": id, "state": "s", "body": "{}", "vector": [0.0, 0.0]} for id in ODD_IDS])
    for fields in (["id"], ["state"]):
        assert sorted(row["id"] for row in connection.rows("a", fields)) == sorted(ODD_IDS)
    assert sorted(row["id"] for row in connection.rows("a", ["id"], 'state == "s"')) == sorted(ODD_IDS)
    assert list(connection.rows("a", ["id"], 'state == "other"')) == []


def test_writes_run_between_the_pages(monkeypatch, connection):
    monkeypatch.setattr("florence_rag.index.lite.connection._PAGE_ROWS", 2)
    connection.open_collection(ledger_spec("a"))
    row = {"state": "s", "body": "{}", "vector": [0.0, 0.0]}
    connection.upsert("a", [{**row, "id": id} for id in "bdfh"])
    rows = connection.rows("a", ["id"])
    first = next(rows)["id"]
    connection.upsert("a", [{**row, "id": id} for id in "acg"])
    connection.delete("a", ["f"])
    assert first + "".join(each["id"] for each in rows) == "bdgh"


@pytest.mark.parametrize("method", ["create_index", "create_collection"])
def test_another_process_may_create_the_same_collection_at_the_same_time(open_index, put, monkeypatch, method):
    create = getattr(ColumnClient, method)

    def create_after_another(self, *args, **options):
        create(self, *args, **options)
        return create(self, *args, **options)

    monkeypatch.setattr(ColumnClient, method, create_after_another)
    with open_index() as index:
        put(index, "/a")
        assert list(index.sources()) == ["/a"]
