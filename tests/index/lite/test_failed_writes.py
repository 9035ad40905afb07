"""Fails writes of Milvus Lite by a limit on the size of files, which tears them apart as a full disk does."""

import resource
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from milvus_lite.engine import collection as lite_collection
from milvus_lite.storage.manifest import Manifest
from milvus_lite.storage.wal import WAL

from florence_rag.errors import StoreError


@contextmanager
def no_file_larger_than(size):
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture
def killed(db, tmp_path):
    """Copies the database as a kill would leave it."""
    return lambda: str(shutil.copytree(db, tmp_path / "killed.db"))


def log_size(db):
    return max(path.stat().st_size for path in Path(db, "collections", "florence", "wal").glob("wal_data_*"))


def texts(index, uri):
    return sorted(hit.text for hit in index.find(filter={"source": uri}))


def test_what_is_written_after_a_torn_write_survives_a_kill(index, put, db, killed, open_index):
    put(index, "/a", n=3)
    index.flush_buffer()
    put(index, "/b", n=60)
    with no_file_larger_than(log_size(db) + 500), pytest.raises(StoreError, match="File too large"):
        index.flush_buffer()
    put(index, "/c", n=3)
    index.flush_buffer()
    assert list(open_index(uri=killed()).sources()) == ["/a", "/b", "/c"]


def test_rows_are_found_and_kept_after_a_flush_that_failed(index, put, db, killed, open_index, unit):
    put(index, "/a", n=3)
    index.flush()
    put(index, "/b", n=40)
    index.flush_buffer()
    with no_file_larger_than(1_000), pytest.raises(StoreError, match="File too large"):
        index.flush()
    assert len(index.search_vector(unit()[0], 100)) == 43
    put(index, "/c", n=2)
    index.flush()
    assert list(index.sources()) == list(open_index(uri=killed()).sources()) == ["/a", "/b", "/c"]


def test_a_write_whose_automatic_flush_failed_loses_nothing(index, put, db, killed, open_index, monkeypatch):
    put(index, "/a", n=3)
    index.flush_buffer()
    put(index, "/b", n=40)
    with monkeypatch.context() as patch:
        patch.setattr(lite_collection, "MEMTABLE_MEMORY_LIMIT", 1)
        patch.setattr("milvus_lite.engine.flush.write_data_file", _fail)
        with pytest.raises(StoreError, match="No space left"):
            index.flush_buffer()
    index.flush()
    assert list(open_index(uri=killed()).sources()) == ["/a", "/b"]


def test_a_flush_whose_manifest_could_not_be_written_is_repeated_without_duplicates(index, put, monkeypatch, unit):
    put(index, "/a", n=3)
    index.flush_buffer()
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "save", _fail)
        with pytest.raises(StoreError, match="No space left"):
            index.flush()
    put(index, "/b", n=2)
    index.flush()
    assert index.chunks.connection.count("florence") == len(index.search_vector(unit()[0], 10)) == 5


def test_a_flush_that_succeeded_except_for_its_log_is_a_success(index, put, monkeypatch, unit, db, killed, open_index):
    close_and_delete = WAL.close_and_delete
    put(index, "/a", n=3)
    index.flush_buffer()
    with monkeypatch.context() as patch:
        patch.setattr(WAL, "close_and_delete", lambda log: close_and_delete(log) or _fail())
        index.flush()
    assert len(index.search_vector(unit()[0], 10)) == 3
    assert open_index(uri=killed()).chunks.connection.count("florence") == 3


def _fail(*_):
    raise OSError(28, "No space left on device")
