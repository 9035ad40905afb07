from pathlib import Path

import pytest
from pymilvus import DataType

from florence_rag.errors import InputError
from florence_rag.index.lite.profile import LITE
from florence_rag.index.schema import chunk_spec, ledger_spec
from florence_rag.index.store_profile import SERVER


@pytest.mark.parametrize("name", ["NONSENSE", "DISKANN", "IVF_PQ", "GPU_CAGRA", " ", ""])
def test_index_types_that_lite_cannot_load_again_are_refused(open_index, db, name):
    with pytest.raises(InputError, match=r"index type .* is unknown.*use FLAT, HNSW, HNSW_SQ, IVF_FLAT"):
        open_index(index_type=name)
    assert not Path(db).exists()


@pytest.mark.parametrize("vector_dtype", ["fp16", "bf16"])
def test_lite_refuses_half_precision_before_it_creates_anything(open_index, db, vector_dtype):
    with pytest.raises(InputError, match=f"Milvus Lite stores vectors as fp32 only, not as {vector_dtype}"):
        open_index(vector_dtype=vector_dtype)
    assert not Path(db).exists()


@pytest.mark.parametrize(
    "vector_dtype,dtype",
    [("fp32", DataType.FLOAT_VECTOR), ("fp16", DataType.FLOAT16_VECTOR), ("bf16", DataType.BFLOAT16_VECTOR)],
)
def test_both_vector_fields_have_the_precision(vector_dtype, dtype):
    fields = chunk_spec(SERVER, "a", 8, "HNSW", 4, vector_dtype=vector_dtype).schema.fields
    assert {field.name: field.dtype for field in fields if field.name in ("vector", "text_vector")} == {
        "vector": dtype,
        "text_vector": dtype,
    }


def test_only_lite_has_flat_metadata():
    assert chunk_spec(LITE, "a", 8, "FLAT").schema.enable_dynamic_field
    assert not chunk_spec(SERVER, "a", 8, "FLAT").schema.enable_dynamic_field


def test_there_is_no_partition_key_as_lite_tears_batches_apart_with_one():
    assert not any(field.is_partition_key for field in chunk_spec(LITE, "a", 4, "FLAT").schema.fields)


def test_readers_of_a_server_see_the_whole_ledger():
    assert ledger_spec("a").consistency == "Strong"


@pytest.mark.parametrize("index_type", LITE.index_types())
def test_every_allowed_type_works_and_loads_again(open_index, put, unit, index_type):
    with open_index(index_type=index_type) as index:
        put(index, n=40)
        index.flush()
    with open_index() as index:
        assert index.info().index_type == index_type
        hits = index.search_vector(unit(seed=5)[0], 40)
        assert len(hits) == 40
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.id))


def test_another_index_type_rebuilds_the_index(open_index, put, unit):
    with open_index() as index:
        put(index, n=30)
        before = index.search_vector(unit()[0], 5)
    with open_index(index_type="HNSW") as index:
        assert index.info().index_type == "HNSW"
        assert index.search_vector(unit()[0], 5) == before
    with open_index() as index:
        assert index.info().index_type == "HNSW"


@pytest.mark.parametrize("index_type", ["HNSW", "IVF_FLAT"])
def test_a_filter_hides_no_match_from_an_approximate_index(open_index, source, chunks, unit, index_type):
    with open_index(index_type=index_type) as index:
        one, rare = source("/one"), source("/rare")
        for each, n in ((one, 1500), (rare, 3)):
            index.begin(each)
            index.add(chunks(each, n), unit(n, seed=n))
            index.complete(each)
        index.flush()
    with open_index() as index:
        for seed in range(5):
            assert len(index.search_vector(unit(seed=seed)[0], 5, filter={"source": "/rare"})) == 3
