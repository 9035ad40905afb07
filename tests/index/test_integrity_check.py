import json
import shutil
import warnings
from pathlib import Path

import pytest

from florence_rag.errors import DamagedDatabaseError, StoreCorruptError
from florence_rag.index.ledger import Entry
from florence_rag.index.lite.repair import repair
from florence_rag.types import Chunk, Source, item_uri


@pytest.fixture
def filled(open_index, put):
    """Two flushed parts: /a and /b in one, /c in the other."""
    with open_index() as index:
        put(index, "/a", n=4)
        put(index, "/b", n=3)
        index.flush()
        put(index, "/c", n=2)


def data_files(db):
    return sorted(Path(db, "collections", "florence").rglob("data_*.parquet"))


def test_an_intact_index_opens_without_a_warning(filled, open_index):
    index = open_index()
    assert list(index.sources()) == ["/a", "/b", "/c"]
    assert index.info().incomplete == ()


@pytest.mark.lite
def test_sources_that_lost_rows_are_named_and_restored_by_the_next_run(filled, db, open_index, put):
    data_files(db)[0].unlink()
    repair(Path(db))
    with pytest.warns(RuntimeWarning, match=r"has 2 chunks where its ledger lists 9: index the 2 files again"):
        index = open_index()
    assert list(index.sources()) == ["/c"]
    assert index.info().incomplete == ("/a", "/b")
    assert index.info().chunks == {"text": 2}
    put(index, "/a", n=4)
    put(index, "/b", n=3)
    assert index.info().incomplete == ()
    index.close()
    assert list(open_index().sources()) == ["/a", "/b", "/c"]


@pytest.mark.lite
def test_an_index_that_lost_all_rows_can_be_filled_again_but_not_searched(filled, db, open_index):
    for path in data_files(db):
        path.unlink()
    repair(Path(db))
    with pytest.raises(StoreCorruptError, match="has lost all its 9 chunks; index its files again"):
        open_index(create=False)
    with pytest.warns(RuntimeWarning, match="index the 3 files again"):
        assert open_index().sources() == {}


def test_surplus_rows_are_noticed_and_dropped(filled, open_index, put, source, chunks, unit):
    with open_index() as index:
        put(index, "/d", n=2)
        index.flush()
        index.chunks.ledger.drop(["/d"])
    with pytest.warns(RuntimeWarning, match="has 11 chunks where its ledger lists 9: index the 1 files"):
        index = open_index()
    assert index.info().incomplete == ("/d",)
    put(index, "/d", n=1, version=2)
    index.flush()
    assert index.chunks.connection.count("florence") == 10
    assert index.info().incomplete == ()


@pytest.mark.lite
def test_a_source_that_was_cut_short_is_not_damage(filled, db, open_index, source, chunks, unit):
    with open_index() as index:
        index.begin(source("/d"))
        index.add(chunks(source("/d"), 3), unit(3))
        index.flush()
    index = open_index()
    assert list(index.sources()) == ["/a", "/b", "/c"]
    assert index.info().incomplete == ()
    assert len(list(index.find())) == 9, "no search finds what was left of it"
    (kept,) = Path(db).glob("set-aside/*/florence.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [row["source"] for row in rows] == ["/d"] * 3
    assert len(rows[0]["vector"]) == 8


def killed(db: str, copy: Path, lost_writes: int) -> str:
    """Copies a database that is open, as a kill leaves it, without the last writes to the log of its ledger."""
    shutil.copytree(db, copy)
    (log,) = (copy / "collections" / "florence_ledger" / "wal").glob("wal_data_*.arrow")
    if lost_writes:
        log.write_bytes(b"\xff\xff\xff\xff".join(log.read_bytes().split(b"\xff\xff\xff\xff")[:-lost_writes]))
    return str(copy)


@pytest.mark.lite
@pytest.mark.parametrize("lost_writes", [0, 1, 2])
def test_no_item_is_lost_with_the_last_writes_in_the_log_of_the_ledger(
    tmp_path, db, open_index, chunks, unit, lost_writes
):
    index = open_index()
    source = Source(item_uri("1"), "text", 0, 0, "hash")
    index.begin(source)
    index.add([Chunk(source, "text", text="kept", custom_id="1")], unit())
    index.complete(source)
    index.flush_buffer()
    copy = killed(db, tmp_path / "copy.db", lost_writes)
    with warnings.catch_warnings(action="ignore"), open_index(uri=copy) as index:
        assert [hit.text for hit in index.find()] == ["kept"]
        assert list(index.sources()) == ["item:1"] if lost_writes < 2 else index.info().incomplete == ("item:1",)


@pytest.mark.lite
@pytest.mark.parametrize(("uri", "left"), [("item:1", ["item:1"]), ("/a", [])])
def test_a_deletion_that_was_cut_short_is_finished_for_files_and_undone_for_items(open_index, source, unit, uri, left):
    with open_index() as index:
        index.begin(source(uri))
        index.add([Chunk(source(uri), "text", text="one", custom_id="1")], unit())
        index.complete(source(uri))
        index.flush_buffer()
        index.chunks.ledger.put([Entry(uri, "begun")])
    index = open_index()
    assert [hit.uri for hit in index.find()] == list(index.sources()) == left
    assert index.info().incomplete == ()


def test_a_source_that_another_object_is_writing_is_left_alone(filled, open_index, source, chunks, unit):
    index = open_index()
    index.begin(source("/d"))
    index.add(chunks(source("/d"), 3), unit(3))
    index.flush()
    with open_index() as other:
        assert len(list(other.find())) == 12
    index.complete(source("/d"))
    assert len(list(index.find(filter="source == '/d'"))) == 3


def test_sources_that_another_machine_is_writing_are_not_damaged(filled, open_index, put, monkeypatch):
    index = open_index()
    entries = index.chunks.ledger.entries

    def then_another_machine_writes(*states):
        if states:
            return entries(*states)
        seen = list(entries())
        monkeypatch.setattr(index.chunks.ledger, "entries", entries)
        put(index, "/d", n=4)
        index.flush()
        return iter(seen)

    monkeypatch.setattr(index.chunks.ledger, "entries", then_another_machine_writes)
    found = index.chunks.check_integrity()
    assert (found.present, found.expected, found.damaged) == (13, 9, frozenset())


@pytest.mark.lite
def test_damaged_files_are_named_with_the_command_that_repairs_them(filled, db, open_index):
    data_files(db)[0].write_bytes(data_files(db)[0].read_bytes()[:100])
    with pytest.raises(
        DamagedDatabaseError, match=r"data_000001_000007.parquet cannot be read .*florence-rag repair --db"
    ):
        open_index()
