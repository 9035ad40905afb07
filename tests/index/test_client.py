import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest
from pymilvus.client.prepare import Prepare

from florence_rag.errors import StoreError
from florence_rag.index.checksum import VECTOR_FIELDS
from florence_rag.index.client import hit_rows, upsert_request
from florence_rag.index.lite.profile import LITE
from florence_rag.index.milvus import MilvusIndex
from florence_rag.index.row_codec import RowCodec
from florence_rag.index.rows import HIT_FIELDS, chunk_to_row
from florence_rag.index.schema import chunk_spec, record_spec
from florence_rag.index.store_profile import SERVER, server_profile
from florence_rag.testing import ColorEmbedder
from florence_rag.types import Chunk, Locator, Source


@pytest.mark.parametrize(
    ("profile", "dtype", "text_dimension"),
    [
        (LITE, "fp32", 8),
        (SERVER, "fp32", 8),
        (SERVER, "fp16", 8),
        (SERVER, "bf16", None),
        (server_profile("2.3.5"), "fp32", None),
    ],
)
def test_a_request_in_columns_says_the_same_as_that_of_pymilvus(profile, dtype, text_dimension, unit):
    spec = chunk_spec(profile, "c", 8, "FLAT", text_dimension, vector_dtype=dtype)
    codec = RowCodec(dtype, flat=profile.flat_metadata, nulls=profile.has_nulls)
    source = Source("/a", "image", 1, 1, "h")
    chunks = [
        Chunk(
            source, "page", Locator(page=3), text="Straße 🚌", metadata={"city": "Zürich", "no": None, "n": 2**63 - 1}
        ),
        Chunk(source, "image", Locator(box=(0, 0, 0.5, 1.0)), metadata={"deep": {"a": [1, 2.5, {"b": True}]}}),
        Chunk(source, "clip", Locator(start_s=1.5, end_s=2.0)),
    ]
    text_vectors = unit(3, seed=1) if text_dimension else [None] * 3
    rows = [codec.encode(chunk_to_row(*each)) for each in zip(chunks, unit(3), text_vectors, strict=True)]
    schema = spec.schema.to_dict()
    ours = upsert_request("c", rows, schema)
    lists = [
        row | {name: row[name].tolist() for name in VECTOR_FIELDS if dtype == "fp32" and name in row} for row in rows
    ]
    theirs = Prepare.row_upsert_param("c", lists, "", schema["fields"], [], enable_dynamic=profile.flat_metadata)
    by_name = {field.field_name: field for field in theirs.fields_data}
    assert {field.field_name: field for field in ours.fields_data} == by_name
    assert (ours.collection_name, ours.num_rows) == ("c", 3)


@pytest.mark.parametrize("more", [[], ["vector"]])
def test_hits_have_the_values_that_pymilvus_reads(index, street, more):
    fields = [*HIT_FIELDS, *more]

    def search():
        client = index.chunks.connection.client
        (hits,) = client.search(index.chunks.name, [np.eye(8)[0].tolist()], "", 3, fields, anns_field="vector")
        return hits

    index.flush_buffer()
    assert len(search()) == 3
    expected = [{name: {**hit, **hit["entity"]}[name] for name in [*fields, "distance"]} for hit in search()]
    assert [{name: row[name] for name in [*fields, "distance"]} for row in hit_rows(search())] == expected


def test_rows_need_exactly_the_fields_of_the_collection(index):
    connection, name = index.chunks.connection, index.chunks.ledger.name
    row = {"id": "a", "state": "failed", "body": "{}", "vector": np.zeros(2)}
    with pytest.raises(StoreError, match="a row has no field 'body'"):
        connection.upsert(name, [row, {key: row[key] for key in ("id", "state", "vector")}])
    with pytest.raises(StoreError, match=f"the collection '{name}' has no field 'other'"):
        connection.upsert(name, [row, row | {"id": "b", "other": 1}])
    assert connection.count(name) == 1, "only the settings"


def test_a_collection_may_be_created_again_with_other_fields(index):
    connection, row = index.chunks.connection, {"id": "a", "body": "{}", "vector": [0.0, 1.0]}
    for fields in ({"one": 16}, {"two": 16}):
        connection.open_collection(record_spec("again", 2, **fields))
        connection.upsert("again", [row | dict.fromkeys(fields, "x")])
        assert connection.rows_of("again", ["a"], [*fields])["a"] == {"id": "a"} | dict.fromkeys(fields, "x")
        connection.drop("again")


@pytest.mark.parametrize("is_joined", [False, True])
def test_threads_that_search_first_at_once_meet_whole_modules(tmp_path, is_joined):
    """pymilvus executes scipy.sparse in its first search; a folder that the process itself has open needs none."""
    db = str(tmp_path / "x.db")
    code = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from pymilvus import MilvusClient
from florence_rag.index.milvus import MilvusIndex
from florence_rag.testing import ColorEmbedder

query, search, imported = ColorEmbedder().embed_texts(["red"])[0], MilvusClient.search, set()

def recorded(*args, **options):
    imported.add("scipy.sparse" in sys.modules)
    return search(*args, **options)

MilvusClient.search = recorded
with MilvusIndex.open({db!r}, ColorEmbedder.info) as index, ThreadPoolExecutor(16) as pool:
    found = [*pool.map(lambda _: index.search_vector(query, 1), range(16))]
    print(found == [[]] * 16, imported, "scipy.sparse" in sys.modules)
"""
    with MilvusIndex.open(db, ColorEmbedder.info) if is_joined else nullcontext():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = "True {True} True\n" if is_joined else "True set() False\n"
    assert done.stdout == expected, done.stderr
