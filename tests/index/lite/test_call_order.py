import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from milvus_lite.engine.collection import Collection

from florence_rag.index.connection import Connection
from florence_rag.index.lite.call_order import ReadWriteLock
from florence_rag.index.lite.connection import LiteConnection
from florence_rag.index.lite.engine import LiteDatabase
from florence_rag.index.lite.internals import _FilterCache

SOON_S, NEVER_S = 10.0, 0.1


@pytest.fixture
def lock():
    return ReadWriteLock()


def enter(how, entered: threading.Event, leave: threading.Event):
    def run():
        with how():
            entered.set()
            leave.wait(SOON_S)

    threading.Thread(target=run, daemon=True).start()
    return entered


@pytest.fixture
def begin():
    """Returns a function that enters a lock in a thread, and returns the event that says so; all leave in the end."""
    leave = threading.Event()
    yield lambda how, leave=leave: enter(how, threading.Event(), leave)
    leave.set()


def test_readers_run_side_by_side(lock, begin):
    assert all(begin(lock.reading).wait(SOON_S) for _ in range(3))


def test_a_writer_runs_alone(lock, begin):
    first_leaves = threading.Event()
    assert begin(lock.writing, first_leaves).wait(SOON_S)
    others = [begin(lock.writing), begin(lock.reading)]
    assert not any(each.wait(NEVER_S) for each in others)
    first_leaves.set()
    assert any(each.wait(SOON_S) for each in others)


def test_later_readers_do_not_overtake_a_waiting_writer(lock, begin):
    reader_leaves, writer_leaves = threading.Event(), threading.Event()
    assert begin(lock.reading, reader_leaves).wait(SOON_S)
    writer = begin(lock.writing, writer_leaves)
    assert not writer.wait(NEVER_S)
    late = begin(lock.reading)
    assert not late.wait(NEVER_S)
    reader_leaves.set()
    assert writer.wait(SOON_S)
    assert not late.is_set()
    writer_leaves.set()
    assert late.wait(SOON_S)


def test_a_failed_call_leaves_the_lock_open(lock, begin):
    for how in (lock.reading, lock.writing):
        with pytest.raises(KeyError), how():
            raise KeyError
    assert begin(lock.writing).wait(SOON_S)


@pytest.fixture
def hold(monkeypatch):
    """Holds Milvus Lite inside searches for another source than "/held" from the first event to the second."""
    held, leave, search = threading.Event(), threading.Event(), Collection.search

    def search_or_hold(self, *args, **options):
        if "/held" in (options["expr"] or ""):
            held.set()
            leave.wait(SOON_S)
        return search(self, *args, **options)

    monkeypatch.setattr(Collection, "search", search_or_hold)
    return held, leave


def test_short_searches_finish_while_a_long_one_runs(hold, index, street):
    held, leave = hold
    query = np.eye(8)[0]
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(index.search_vector, query, 3, filter={"source": {"$ne": "/held"}})
        assert held.wait(SOON_S)
        assert len(index.search_vector(query, 3)) == 3
        assert not long.done()
        leave.set()
        assert len(long.result()) == 3


@pytest.mark.parametrize("how", ["here", "by gRPC"])
def test_writes_and_searches_finish_while_a_long_search_runs_on_the_rows_before(
    hold, index, street, put, how, monkeypatch
):
    held, leave = hold
    query = np.eye(8)[0]
    if how == "by gRPC":
        monkeypatch.setattr(LiteConnection, "_search", Connection._search)
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(index.search_vector, query, 9, filter={"source": {"$ne": "/held"}})
        assert held.wait(SOON_S)
        put(index, "/photos/new.jpg")
        index.flush()
        assert len(index.search_vector(query, 9)) == 5
        assert not long.done()
        leave.set()
        assert len(long.result()) == 4


def test_the_cache_of_filters_can_be_shared(db, index, street):
    database = LiteDatabase.running[Path(db).resolve()]
    collection = database._engine._engine.get_collection(index.chunks.name)
    assert isinstance(collection._filter_cache, _FilterCache)
