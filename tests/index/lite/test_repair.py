"""Damages the files of databases, and compares what is left after a repair with what the files still held."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from florence_rag.errors import DamagedDatabaseError, StoreCorruptError, StoreLockedError, StoreUnavailableError
from florence_rag.index.base import CachedAnswer
from florence_rag.index.lite import checksums
from florence_rag.index.lite.integrity import find_damage
from florence_rag.index.lite.repair import SetAside, repair

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


def flip(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 0x40
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


SLOW = [
    pytest.param(each, marks=pytest.mark.slow) for each in (empty, halve, replace_by_folder, replace_by_dangling_link)
]


@pytest.mark.parametrize("damage", [flip, remove, *SLOW])
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


@pytest.mark.parametrize(("collection", "other"), [(COLLECTION, LEDGER), (LEDGER, COLLECTION)])
def test_the_manifest_of_another_collection_costs_no_row(closed, open_index, collection, other):
    before = contents(open_index, closed)
    shutil.copy(closed / other / "manifest.json", closed / collection)
    report = repair(closed)
    assert report.damage and not report.lost
    assert contents(open_index, closed) == before


@pytest.mark.parametrize("names", [["florence", "florence_ledger"], ["florence"], ["florence_ledger"]])
def test_folders_that_were_renamed_or_exchanged_are_put_back(closed, open_index, names):
    before = contents(open_index, closed)
    folders = [closed / "collections" / name for name in names]
    folders[0].rename(closed / "collections" / "other")
    for folder, place in zip(folders[1:], folders, strict=False):
        folder.rename(place)
    if len(folders) > 1:
        (closed / "collections" / "other").rename(folders[-1])
    with pytest.raises(DamagedDatabaseError):
        open_index(uri=str(closed))
    report = repair(closed)
    assert not report.lost and len(report.damage) == len(names)
    assert contents(open_index, closed) == before
    assert repair(closed).damage == ()


def test_exchanged_schemas_are_not_taken_for_exchanged_folders(closed, open_index):
    before = contents(open_index, closed)
    one, other = (closed / "collections" / name / "schema.json" for name in ("florence", "florence_ledger"))
    both = one.read_bytes(), other.read_bytes()
    other.write_bytes(both[0])
    one.write_bytes(both[1])
    assert not repair(closed).lost
    assert contents(open_index, closed) == before


def test_the_manifest_of_the_ledger_in_the_cache_of_answers_is_no_loss(open_index, put, db, unit):
    with open_index() as index:
        for name in ("/a", "/b", "/c"):
            put(index, name, n=2)
            index.flush()
        answer = CachedAnswer("a", "m", "/x", "d", "s", "What?", "what", "A bus", 0.5, (("A car", 0.1),), "2026-01-01")
        index.answer_store().put(answer, unit(dimension=2 * index.embedder.dimension)[0])
    (answers,) = Path(db).glob("collections/*_answers_*")
    shutil.copy(Path(db) / LEDGER / "manifest.json", answers)
    report = repair(Path(db))
    assert report.rows[answers.name] == 1 and not report.lost


@pytest.mark.parametrize("damage", [remove, SLOW[0], SLOW[2]])
def test_a_damaged_data_file_costs_only_its_own_rows(closed, open_index, damage):
    before, sources = contents(open_index, closed)
    damage(parquet(closed)[0])
    with pytest.raises(DamagedDatabaseError, match=r"data_\d+_\d+.parquet .*; 7 rows can be read"):
        open_index()
    report = repair(closed)
    assert report.rows == {"florence": 3}
    assert re.search(r"data_\d+_\d+.parquet .*rows.* lost", report.lost[0])
    with pytest.warns(RuntimeWarning, match="index the 1 files again"):
        found, _ = contents(open_index, closed)
    assert found.items() <= before.items()
    assert len(found) == 3
    assert sources == ["/a", "/b"]


@pytest.mark.parametrize("kind", ["data", pytest.param("delta", marks=pytest.mark.slow)])
def test_a_file_that_has_lost_its_footer_costs_no_row(closed, open_index, kind):
    before = contents(open_index, closed)
    path = parquet(closed, kind)[0]
    halve(path)  # the footer is larger than the pages
    report = repair(closed)
    assert [damage.file for damage in report.damage] == [path.relative_to(closed).as_posix()] and report.lost == ()
    assert contents(open_index, closed) == before
    assert repair(closed).damage == ()


def test_of_a_data_file_that_was_cut_off_the_complete_groups_of_rows_are_kept(open_index, put, db, monkeypatch):
    monkeypatch.setattr(checksums, "ROWS_PER_GROUP", 4)
    with open_index() as index:
        put(index, "/a", n=10)
    (path,) = parquet(Path(db))
    last = pq.read_metadata(path).row_group(2)
    path.write_bytes(path.read_bytes()[: last.column(0).data_page_offset + 9])
    assert repair(Path(db)).rows == {"florence": 8}
    with pytest.warns(RuntimeWarning, match="index the 1 files again"):
        assert len(contents(open_index, Path(db))[0]) == 8


def test_copies_of_footers_are_deleted_with_their_files_and_may_be_damaged(open_index, put, db):
    for n in range(8):  # enough files for Milvus Lite to merge some of them
        with open_index() as index:
            put(index, f"/{n}", n=1)
    names = {path.name for kind in ("data", "delta") for path in parquet(Path(db), kind)}
    kept = sorted((Path(db) / COLLECTION).glob("partitions/*/footers/*"))
    assert 0 < len(kept) <= len(names)
    for path in kept:
        path.write_bytes(b"damaged")
    path = parquet(Path(db))[0]
    path.write_bytes(path.read_bytes()[:-100])
    assert "rows are lost" in repair(Path(db)).lost[0]


def test_deletions_that_are_lost_are_reported(closed, open_index):
    parquet(closed, "delta")[0].unlink()
    with pytest.raises(DamagedDatabaseError, match=r"delta_\d+_\d+.parquet is missing"):
        open_index()
    assert "deletions are lost" in repair(closed).lost[0]
    with pytest.warns(RuntimeWarning, match="9 chunks where its ledger lists 7"):
        assert len(contents(open_index, closed)[0]) == 9


def test_a_changed_byte_in_a_data_file_is_found_and_costs_one_row(closed, open_index):
    before, _ = contents(open_index, closed)
    path = parquet(closed)[0]
    row_group = pq.read_metadata(path).row_group(0)
    column = next(row_group.column(i) for i in range(99) if row_group.column(i).path_in_schema.startswith("vector"))
    flip(path, column.data_page_offset + column.total_compressed_size - 3)
    assert find_damage(closed) == []
    assert "CRC checksum verification failed" in str(find_damage(closed, thorough=True)[0])
    with pytest.raises(DamagedDatabaseError, match=r"data_\d+_\d+.parquet cannot be read .*checksum"):
        open_index()
    report = repair(closed)
    assert report.rows == {"florence": 6}
    assert "has 1 unreadable rows" in report.lost[0]
    with pytest.warns(RuntimeWarning):
        assert contents(open_index, closed)[0].items() <= before.items()


def test_an_older_manifest_is_noticed_and_costs_no_row(closed, open_index):
    before = contents(open_index, closed)
    manifest = closed / COLLECTION / "manifest.json"
    shutil.copy(f"{manifest}.prev", manifest)
    with pytest.raises(DamagedDatabaseError, match=r"manifest.json is older than partitions/.*parquet"):
        open_index()
    assert repair(closed).lost == ()
    assert contents(open_index, closed) == before


def test_a_file_that_no_manifest_names_is_set_aside(closed, open_index):
    before = contents(open_index, closed)
    stray = parquet(closed)[0].with_name("data_000001_000003.parquet")
    shutil.copy(parquet(closed)[0], stray)
    assert contents(open_index, closed) == before
    assert not stray.exists()
    assert [path.name for path in closed.glob("set-aside/**/*.parquet")] == [stray.name]


def log(db, kind):
    return next((db / COLLECTION / "wal").glob(f"wal_{kind}_*"))


def test_a_log_whose_last_write_is_torn_opens_but_not_if_a_later_write_is_whole(killed, open_index, put):
    path = log(killed, "data")
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    with pytest.raises(DamagedDatabaseError, match="wal has lost writes between others"):
        open_index(uri=str(killed))
    log(killed, "delta").unlink()
    with pytest.warns(RuntimeWarning, match="index the 2 files again"):
        assert len(contents(open_index, killed)[0]) == 6, "those of /a, and those of /c, whose deletion is lost"


def test_writes_behind_damage_in_a_log_are_kept(open_index, put, db, tmp_path):
    index = open_index()
    for name in "abc":
        put(index, f"/{name}", n=2)
        index.flush_buffer()
    killed = shutil.copytree(db, tmp_path / "killed.db")
    index.close()
    path = log(killed, "data")
    second = path.read_bytes().index(b"passage", path.read_bytes().index(b"/b"))
    flip(path, path.read_bytes().rindex(b"\xff\xff\xff\xff", 0, second) + 4)
    with pytest.raises(DamagedDatabaseError, match=r"wal_data_\d+.arrow is damaged at byte"):
        open_index(uri=str(killed))
    assert "its rows are lost" in repair(killed).lost[0]
    with pytest.warns(RuntimeWarning, match="has 4 chunks where its ledger lists 6"):
        assert contents(open_index, killed)[1] == ["/a", "/c"]


def test_a_log_of_another_collection_costs_only_its_own_rows(killed, open_index):
    shutil.copy(next((killed / LEDGER / "wal").glob("wal_data_*")), log(killed, "data"))
    with pytest.raises(DamagedDatabaseError, match=r"wal_data_\d+.arrow has the columns of another collection"):
        open_index(uri=str(killed))
    assert "has the columns of another collection: its rows are lost" in repair(killed).lost[0]
    with pytest.warns(RuntimeWarning, match="has 4 chunks where its ledger lists 7"):
        assert len(contents(open_index, killed)[0]) == 4


def test_a_changed_row_in_a_log_is_noticed_and_not_repaired_to_something_wrong(killed, open_index):
    path = log(killed, "data")
    flip(path, path.read_bytes().index(b"passage 1"))
    with pytest.raises(DamagedDatabaseError, match=r"wal_data_\d+.arrow has 1 changed rows"):
        open_index(uri=str(killed))
    assert "has 1 changed rows: its rows are lost" in repair(killed).lost[0]
    with pytest.warns(RuntimeWarning, match="has 6 chunks where its ledger lists 7"):
        assert len(contents(open_index, killed)[0]) == 6


def test_a_lost_log_of_deletions_is_noticed(killed, open_index, put):
    with open_index(uri=str(killed)) as index:
        put(index, "/d", n=2)
        index.flush_buffer()
        again = shutil.copytree(killed, killed.with_name("again.db"))
    log(again, "delta").unlink()
    with pytest.raises(DamagedDatabaseError, match="wal has lost writes between others"):
        open_index(uri=str(again))


def test_a_lost_lock_file_is_created_again(closed, open_index):
    before = contents(open_index, closed)
    (closed / "LOCK").unlink()
    assert contents(open_index, closed) == before
    (closed / "LOCK").unlink()
    (closed / "LOCK").mkdir()
    with pytest.raises(StoreCorruptError, match=r"LOCK is a folder; .*florence-rag repair"):
        open_index()
    repair(closed)
    assert contents(open_index, closed) == before


@pytest.mark.parametrize("index_type", ["HNSW", "IVF_FLAT"])
def test_a_changed_byte_in_an_index_file_changes_no_result(closed, open_index, unit, index_type):
    with open_index(index_type=index_type) as index:
        before = index.search_vector(unit()[0], 5)
    for pattern, damage in (("*.idx", flip), ("*.crc32", flip), ("*.idx", replace_by_folder)):
        for path in closed.rglob(pattern):
            damage(path)
        with open_index() as index:
            assert index.search_vector(unit()[0], 5) == before


def test_a_file_that_may_not_be_read_is_not_damaged(closed, open_index, monkeypatch):
    error = PermissionError(13, "Permission denied", "schema.json")
    monkeypatch.setattr("florence_rag.index.lite.integrity.load_schema", lambda path: (_ for _ in ()).throw(error))
    with pytest.raises(StoreUnavailableError, match=r"schema.json cannot be read .Permission denied.; give it to this"):
        open_index()
    with pytest.raises(StoreUnavailableError):
        repair(closed)


def test_an_open_database_is_not_repaired(closed, open_index, tmp_path):
    index = open_index()
    with pytest.raises(StoreLockedError, match=r"has .* open; close it there"):
        repair(closed)
    index.close()
    with pytest.raises(StoreUnavailableError, match="there is no database"):
        find_damage(tmp_path / "nowhere.db")


def test_a_repair_that_is_cut_short_can_be_repeated(closed, open_index, monkeypatch):
    before = contents(open_index, closed)
    empty(closed / COLLECTION / "manifest.json")
    for function in ("save_schema", "write_data_file", "Manifest.save"):
        with monkeypatch.context() as patch:
            patch.setattr(f"florence_rag.index.lite.repair.{function}", _no_space)
            with pytest.raises(StoreUnavailableError, match=r"cannot be repaired .No space left.*nothing is lost"):
                repair(closed)
    with monkeypatch.context() as patch:
        patch.setattr(SetAside, "move", _no_space)
        with pytest.raises(StoreUnavailableError):
            repair(closed)
    assert contents(open_index, closed) == before, "the new manifest was written, so that the collection is whole"


def _no_space(*_):
    raise OSError(28, "No space left on device")
