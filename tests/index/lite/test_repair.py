"""Damages the files of databases, and compares what is left after a repair with what the files still held."""

import shutil
from pathlib import Path

import pytest

from florence_rag.errors import DamagedDatabaseError
from florence_rag.index.lite.repair import repair

COLLECTION = Path("collections", "florence")
LEDGER = Path("collections", "florence_ledger")


@pytest.fixture
def closed(open_index, put, db):
    """A database that was closed: /a (4 rows) in one Parquet file, /b (3) in another, and /c deleted in a third."""
    with open_index() as index:
        put(index, "/c", n=2)
        put(index, "/a", n=4)
        index.flush()
        put(index, "/b", n=3)
        index.delete_sources(["/c"])
    return Path(db)


@pytest.fixture
def killed(open_index, put, db, tmp_path):
    """A database whose process was killed: /a (4 rows) in a Parquet file, /b (3) in the log, and /c deleted there."""
    index = open_index()
    put(index, "/c", n=2)
    put(index, "/a", n=4)
    index.flush()
    put(index, "/b", n=3)
    index.flush_buffer()
    index.delete_sources(["/c"])
    return shutil.copytree(db, tmp_path / "killed.db")


def contents(open_index, db):
    with open_index(uri=str(db)) as index:
        return {hit.id: hit.text for hit in index.find()}, sorted(index.sources())


def parquet(db, kind="data"):
    return sorted((db / COLLECTION).glob(f"partitions/*/{kind}/*.parquet"))


def files(db):
    return {path.relative_to(db): path.read_bytes() for path in db.rglob("*") if path.is_file()}


def flip(path, position=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 0x40
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove(path):
    path.unlink()


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES = [flip, empty, halve, remove, replace_by_folder, replace_by_dangling_link]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("collection", [COLLECTION, LEDGER])
@pytest.mark.parametrize("name", ["manifest.json", "schema.json"])
def test_a_damaged_manifest_or_schema_costs_no_row(closed, open_index, damage, name, collection):
    before = contents(open_index, closed)
    damage(closed / collection / name)
    damaged = files(closed)
    with pytest.raises(DamagedDatabaseError, match="rows can be read and nothing was changed; repair it"):
        open_index()
    assert files(closed) == damaged
    report = repair(closed)
    assert report.lost == ()
    assert contents(open_index, closed) == before
    assert repair(closed).damage == ()
