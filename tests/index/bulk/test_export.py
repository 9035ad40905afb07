"""Tests of exports to Parquet files and of loading them."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pymilvus
import pytest

from florence_rag.errors import InputError, StoreCorruptError, StoreError
from florence_rag.index.bulk.export import arrow_schema, export, load, read_manifest, row_to_columns
from florence_rag.index.checksum import VECTOR_FIELDS, row_checksum
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import chunk_to_row
from florence_rag.index.schema import chunk_spec
from florence_rag.index.store_profile import SERVER
from florence_rag.types import Chunk, EmbedderInfo, Locator, Source

WORDS = EmbedderInfo("words", "ffff", 4, "lower case")


@pytest.fixture
def filled(open_index, put, unit, request):
    """An index with every field of a row, and with text vectors if the parameter is an embedder."""
    index = open_index(text_embedder=getattr(request, "param", None))
    video, paper = Source("/p/ride \udcff.mp4", "video", 1, 1, "v"), Source("/p/paper.pdf", "pdf", 1, 1, "d")
    clip = Chunk(
        video, "clip", Locator(start_s=2.5, end_s=7.25), "we drive", metadata={"city": "夜景", "n": {"x": [1.5]}}
    )
    pages = [Chunk(paper, "page", Locator(page=n, box=(0.0, 0.25, 1.0, 0.5)), f"attention {n}") for n in range(1, 31)]
    of_words = None if index.text_embedder is None else unit(31, seed=3, dimension=4) * (np.arange(31) % 2)[:, None]
    for source in (video, paper):
        index.begin(source)
    index.add([clip, *pages], unit(31, seed=1), of_words)
    for source in (video, paper):
        index.complete(source)
    index.fail("/p/broken.jpg", "it is not an image")
    index.flush()
    return index


def opener(path, **options):
    return lambda files: MilvusIndex.open(str(path), files.embedder, text_embedder=files.text_embedder, **options)


@pytest.mark.parametrize("filled", [None, WORDS], indirect=True)
def test_an_export_loaded_into_a_new_database_returns_the_same_hits(filled, tmp_path, unit):
    files = export(filled, tmp_path / "bulk", rows_per_file=10)
    assert (files.rows, files.sources, len(files.chunks)) == (31, 3, 4)
    assert load(tmp_path / "bulk", opener(tmp_path / "other.db")) == files
    with opener(tmp_path / "other.db")(files) as other:
        assert other.sources() == filled.sources()
        assert other.failures() == filled.failures()
        assert other.info().chunks == filled.info().chunks
        for seed in range(5):
            query = unit(seed=seed)[0]
            assert other.search_vector(query, 31) == filled.search_vector(query, 31)
        assert other.search_vector(query, 5, filter={"metadata.city": "夜景"}) == filled.search_vector(
            query, 5, filter={"metadata.city": "夜景"}
        )
        assert [hit.id for hit in other.search_bm25("attention drive", 31)] == [
            hit.id for hit in filled.search_bm25("attention drive", 31)
        ]
        if files.text_embedder:
            query = unit(seed=9, dimension=4)[0]
            assert other.search_text_vector(query, 31) == filled.search_text_vector(query, 31)


@pytest.mark.parametrize("filled", [None, WORDS], indirect=True)
def test_the_columns_are_those_of_the_schema_and_hold_the_rows(filled, tmp_path):
    files = export(filled, tmp_path / "bulk")
    table = pq.read_table(tmp_path / "bulk" / files.chunks[0])
    schema = chunk_spec(SERVER, "a", 8, "FLAT", 4 if files.text_embedder else None).schema
    assert table.schema.equals(arrow_schema(schema))
    assert set(table.column_names) == {field.name for field in schema.fields} - {"bm25"}
    rows = {row["id"]: row for row in table.to_pylist()}
    assert len(rows) == 31
    for hit, vector in zip(hits := filled.get(list(rows)), filled.vectors(list(rows)), strict=True):
        row = rows[hit.id]
        assert (row["kind"], row["text"], row["page"]) == (hit.kind, hit.text, hit.locator.page)
        assert (row["start_s"], row["end_s"]) == (hit.locator.start_s, hit.locator.end_s)
        assert json.loads(row["metadata"]) == hit.metadata
        assert np.array_equal(np.float32(row["vector"]), vector)
    assert len(hits) == 31


@pytest.fixture
def bulk_writer(monkeypatch):
    """The bulk writer of pymilvus, without the clients of object stores that its package imports."""
    package = ModuleType("pymilvus.bulk_writer")
    package.__path__ = [str(Path(pymilvus.__file__).parent / "bulk_writer")]
    monkeypatch.setitem(sys.modules, package.__name__, package)
    writer = importlib.import_module("pymilvus.bulk_writer.local_bulk_writer").LocalBulkWriter
    yield writer
    for name in [name for name in sys.modules if name.startswith("pymilvus.bulk_writer.")]:
        del sys.modules[name]


@pytest.mark.parametrize("vector_dtype", ["fp32", "fp16", "bf16"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_files_equal_those_of_milvus_own_bulk_writer(bulk_writer, tmp_path, unit, vector_dtype):
    schema, form = chunk_spec(SERVER, "a", 8, "FLAT", 4, vector_dtype=vector_dtype).schema, RowCodec(vector_dtype)
    row = chunk_to_row(Chunk(Source("/a", "image", 1, 1, "a"), "clip", Locator(start_s=1.5, end_s=2.0)), unit()[0])
    row |= {"metadata": {"city": "夜景"}, "has_text_vector": True, "text_vector": unit(dimension=4)[0]}
    row |= {"checksum": row_checksum(row | {name: form.to_dtype(row[name]) for name in VECTOR_FIELDS})}
    given = {name: row[name] if name not in VECTOR_FIELDS else form.to_dtype(row[name]) for name in row}
    writer = bulk_writer(schema, str(tmp_path), file_type=3)
    lists = {name: given[name].tolist() for name in VECTOR_FIELDS} if vector_dtype == "fp32" else {}
    writer.append_row(given | lists)
    writer.commit()
    theirs = pq.read_table(writer.batch_files[0][0])
    ours = pa.Table.from_pylist([row_to_columns(row, arrow_schema(schema), form)], arrow_schema(schema))
    assert {field.name: field.type for field in ours.schema} == {field.name: field.type for field in theirs.schema}
    assert ours.to_pylist() == theirs.select(ours.column_names).to_pylist()


@pytest.mark.parametrize("vector_dtype,loss", [("fp16", 1e-6), ("bf16", 3e-5)])
def test_files_for_a_collection_of_half_precision(filled, tmp_path, vector_dtype, loss):
    files = export(filled, tmp_path / "bulk", vector_dtype=vector_dtype)
    table = pq.read_table(tmp_path / "bulk" / files.chunks[0])
    assert all(len(each) == 16 for each in table.column("vector").to_pylist())
    settings = pq.read_table(tmp_path / "bulk" / files.ledger[0]).to_pylist()[0]
    assert json.loads(settings["body"])["vector_dtype"] == vector_dtype
    load(tmp_path / "bulk", opener(tmp_path / "other.db"))
    with opener(tmp_path / "other.db")(files) as other:
        ids = table.column("id").to_pylist()
        loaded, full = other.vectors(ids), filled.vectors(ids)
        cosines = (loaded * full).sum(1) / np.linalg.norm(loaded, axis=1)
        assert (1 - cosines).max() < loss


def test_sources_that_are_not_complete_are_not_exported(filled, source, chunks, unit, tmp_path):
    filled.begin(one := source("/p/half.jpg"))
    filled.add(chunks(one, 3), unit(3))
    filled.flush_buffer()
    assert export(filled, tmp_path / "bulk").rows == 31


def test_an_empty_index_is_an_export_too(open_index, tmp_path):
    files = export(open_index(), tmp_path / "bulk")
    assert (files.rows, files.sources, files.chunks) == (0, 0, ())
    assert load(tmp_path / "bulk", opener(tmp_path / "other.db")) == files


def test_an_export_to_a_full_disk_is_one_error_and_can_be_repeated(filled, tmp_path, monkeypatch):
    def write(table, path, **_):
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", write)
        with pytest.raises(StoreError, match=r"out cannot be written \(No space left on device\)"):
            export(filled, tmp_path / "out")
    assert export(filled, tmp_path / "out").rows == len(list(filled.find()))


def test_a_folder_with_other_files_is_not_written_to(filled, tmp_path):
    (tmp_path / "bulk").mkdir()
    (tmp_path / "bulk" / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty; give a new one"):
        export(filled, tmp_path / "bulk")


def test_an_export_is_not_loaded_into_a_filled_database(filled, tmp_path, put):
    files = export(filled, tmp_path / "bulk")
    with opener(tmp_path / "other.db")(files) as other:
        put(other)
    with pytest.raises(InputError, match="can only be loaded into a new index"):
        load(tmp_path / "bulk", opener(tmp_path / "other.db"))


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"embedder": 3}'])
def test_a_folder_without_an_export_is_refused(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(InputError, match=r"contains no export \(.+\); create it with: florence-rag export"):
        read_manifest(tmp_path)


def test_an_export_with_missing_rows_is_refused(filled, tmp_path):
    files = export(filled, tmp_path / "bulk", rows_per_file=20)
    table = pq.read_table(tmp_path / "bulk" / files.chunks[1])
    pq.write_table(table.slice(1), tmp_path / "bulk" / files.chunks[1])
    with pytest.raises(StoreCorruptError, match="has 30 chunks, not 31; export it again"):
        load(tmp_path / "bulk", opener(tmp_path / "other.db"))
