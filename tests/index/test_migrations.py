"""Tests with a database that schema version 2 wrote: version_2.zip holds three sources, a failure and a duplicate."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from florence_rag.errors import StoreMismatchError
from florence_rag.index import migrations
from florence_rag.index.checksum import verify
from florence_rag.index.ledger import Settings
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.records import with_checksum
from florence_rag.index.schema import VERSION
from florence_rag.types import Locator, Skipped


@pytest.fixture
def old(tmp_path) -> str:
    shutil.unpack_archive(Path(__file__).with_name("version_2.zip"), tmp_path)
    return str(tmp_path / "version_2.db")


def test_a_database_of_version_2_opens_with_all_that_it_holds(old, embedder):
    assert MilvusIndex.recorded_embedders(old) == (embedder, None)
    for _ in range(2):
        with MilvusIndex.open(old, embedder, create=False) as index:
            assert list(index.sources()) == ["/photos/car.jpg", "/photos/paper.pdf", "item:note"]
            assert [failure.source for failure in index.failures()] == ["/photos/broken.jpg"]
            assert index.rejected()["/photos/copy.jpg"].duplicate_of == "/photos/car.jpg"
            part = Skipped("/photos/paper.pdf", "damaged page", Locator(page=3))
            assert index.skipped_parts() == {"/photos/paper.pdf": (part,)}
            assert index.skipped_files() == {"/photos": {".mp3": 2}}
            assert [hit.text for hit in index.get(["note"])] == ["buy milk"]
            assert {hit.source for hit in index.find(filter={"size.width": 640})} == {"/photos/car.jpg"}
            settings = index.chunks.ledger.settings()
            assert (settings.version, settings.checksums) == (VERSION, False)


def test_rows_that_are_written_after_the_migration_have_checksums(old, embedder, put):
    with MilvusIndex.open(old, embedder) as index:
        put(index, "/photos/new.jpg")
        index.update_metadata({"note": {"city": "Rome"}})
        verdicts = {row["id"]: verify(row) for row in index.chunks.connection.rows("florence", ["*"])}
        assert verdicts.pop("note") == "intact"
        assert sorted(verdicts.values()) == ["intact", "unknown", "unknown", "unknown"]


def test_the_previous_version_wrote_an_export_that_still_loads(filled_export, tmp_path, embedder):
    from florence_rag.index.bulk.export import load

    load(filled_export, lambda files: MilvusIndex.open(str(tmp_path / "other.db"), files.embedder))
    with MilvusIndex.open(str(tmp_path / "other.db"), embedder) as index:
        assert list(index.sources()) == ["/a"]


@pytest.fixture
def filled_export(index, put, tmp_path) -> Path:
    """An export without the column and the keys that version 3 added."""
    import pyarrow.parquet as pq

    from florence_rag.index.bulk.export import export

    put(index, "/a", n=2)
    folder = tmp_path / "export"
    files = export(index, folder)
    record = files.to_dict()
    del record["version"], record["written_by"]
    (folder / "index.json").write_text(json.dumps(record))
    table = pq.read_table(folder / files.chunks[0])
    pq.write_table(table.drop_columns("checksum"), folder / files.chunks[0])
    return folder


def put_settings(index, **changes) -> None:
    row = Settings(index.embedder).to_row()
    body = json.loads(row["body"]) | changes
    del body["checksum"]
    index.chunks.connection.upsert(index.chunks.ledger.name, [row | {"body": with_checksum(body, row["state"])}])


NEWER = {"version": VERSION + 2, "written_by": "7.1.0", "embedder": "in another form", "more": 1}


@pytest.mark.parametrize("call", [MilvusIndex.recorded_embedders, MilvusIndex.require_embedders])
def test_a_newer_database_says_what_wrote_it_and_what_to_install(open_index, db, embedder, call):
    with open_index() as index:
        put_settings(index, **NEWER)
    message = (
        rf"was written by florence_rag 7\.1\.0 with schema version {VERSION + 2}, but this florence_rag "
        rf"{re.escape(migrations.installed_version())} reads versions 2 to {VERSION}; open it with that version: "
        r"pip install 'florence-rag>=7\.1\.0'$"
    )
    with pytest.raises(StoreMismatchError, match=message):
        open_index()
    with pytest.raises(StoreMismatchError, match=message):
        call(db)


def test_a_newer_export_says_so(index, put, tmp_path):
    from florence_rag.index.bulk.export import export, read_manifest

    put(index, "/a")
    files = export(index, tmp_path / "bulk")
    (tmp_path / "bulk" / "index.json").write_text(json.dumps(replace(files, version=VERSION + 1).to_dict()))
    with pytest.raises(StoreMismatchError, match=r"the export '.+bulk' was written by florence_rag .+pip install"):
        read_manifest(tmp_path / "bulk")


def test_every_version_since_the_oldest_has_a_migration():
    assert sorted(migrations.MIGRATIONS) == list(range(migrations.OLDEST, VERSION))
