import shutil
from pathlib import Path


def test_a_collection_whose_creation_was_cut_short_is_created_again(db, open_index):
    open_index().close()
    for name in ("florence", "florence_ledger"):
        folder = Path(db, "collections", name)
        (folder / "schema.json").rename(folder / "schema.json.tmp")
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "schema.json.tmp":
                path.unlink()
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
    assert open_index().sources() == {}


def test_rows_of_a_flushed_log_that_was_not_deleted_are_not_found_twice(tmp_path, db, open_index, put, unit):
    index = open_index()
    put(index, "/a", n=5)
    index.flush_buffer()
    logs = Path(db, "collections", "florence", "wal")
    shutil.copytree(logs, tmp_path / "logs")
    index.flush()
    killed = tmp_path / "killed.db"
    shutil.copytree(db, killed)
    shutil.copytree(tmp_path / "logs", killed / logs.relative_to(db), dirs_exist_ok=True)
    again = open_index(uri=str(killed))
    assert again.chunks.connection.count("florence") == 5
    assert len(again.search_vector(unit()[0], 10)) == 5


def test_rows_of_a_log_that_was_not_flushed_are_kept(tmp_path, db, open_index, put):
    index = open_index()
    put(index, "/a", n=5)
    index.flush()
    put(index, "/b", n=3)
    index.flush_buffer()
    killed = tmp_path / "killed.db"
    shutil.copytree(db, killed)
    assert list(open_index(uri=str(killed)).sources()) == ["/a", "/b"]
