import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.index_types import (
    available_index_types,
    find_index_type,
    index_types,
    pq_bytes,
)

NAMED = """FLAT HNSW HNSW_SQ IVF_FLAT IVF_SQ8 IVF_PQ IVF_RABITQ SCANN DISKANN
GPU_CAGRA GPU_IVF_FLAT GPU_IVF_PQ GPU_BRUTE_FORCE BIN_FLAT SPARSE_INVERTED_INDEX""".split()


def test_all_types_of_vector_indexes_are_listed():
    assert set(NAMED) <= set(index_types())


@pytest.mark.parametrize("index_type", index_types().values(), ids=list(index_types()))
def test_an_index_type_is_complete(index_type):
    assert index_type.summary
    assert index_type.refused or index_type.recall
    for dimension, width in ((64, 4), (768, 2), (1024, 4)):
        assert index_type.memory(dimension, width) >= 0
        assert index_type.disk(dimension, width) >= 0
        assert (index_type.gpu_memory(dimension, width) > 0) == index_type.gpu
    assert isinstance(index_type.build_params(768, rows=500_000), dict)
    assert isinstance(index_type.search_params(10), dict)


@pytest.mark.parametrize("name", available_index_types())
def test_every_available_type_is_found_in_any_case(name):
    assert find_index_type(name.lower()).name == name


@pytest.mark.parametrize(
    "name,reason",
    [("BIN_FLAT", "IVF_RABITQ stores one bit"), ("sparse_inverted_index", "every index uses it")],
)
def test_a_refused_type_says_why(name, reason):
    with pytest.raises(InputError, match=f"cannot be chosen: .*{reason}"):
        find_index_type(name)


@given(st.text(max_size=20))
def test_any_other_name_is_refused_in_one_line(name):
    if name.upper() not in index_types():
        with pytest.raises(InputError) as caught:
            find_index_type(name)
        assert "\n" not in str(caught.value)


@given(st.integers(1, 4096))
def test_product_quantization_divides_every_dimension(dimension):
    assert dimension % pq_bytes(dimension) == 0


def test_lists_grow_with_the_root_of_the_rows():
    ivf = find_index_type("IVF_FLAT")
    lists = [ivf.build_params(512, rows=rows)["nlist"] for rows in (0, 10_000, 500_000, 10**9, 10**12)]
    assert lists == [128, 256, 2048, 65536, 65536]


def test_truth_is_a_text_in_build_parameters():
    # pymilvus writes True as "True", from which Milvus 2.3.5 tries to build SCANN forever.
    assert not any(isinstance(value, bool) for each in index_types().values() for value in each.build.values())


def test_a_segment_of_half_precision_holds_twice_the_rows():
    ivf = find_index_type("IVF_FLAT")
    assert ivf.build_params(512, 2)["nlist"] >= ivf.build_params(512, 4)["nlist"]


@pytest.mark.parametrize("limit", [1, 10, 300, 1024, 16_384])
def test_a_search_examines_at_least_as_many_vectors_as_it_returns(limit):
    assert index_types()["HNSW"].search_params(limit)["ef"] >= limit
    assert index_types()["DISKANN"].search_params(limit)["search_list"] >= limit
    assert index_types()["SCANN"].search_params(limit)["reorder_k"] >= limit
    most = index_types()["GPU_CAGRA"].max_hits
    assert index_types()["GPU_CAGRA"].search_params(min(limit, most))["itopk_size"] >= min(limit, most)


def test_quantized_index_types_are_smaller():
    sizes = [index_types()[name].memory(768, 4) for name in ("HNSW", "IVF_FLAT", "HNSW_SQ", "IVF_SQ8", "IVF_PQ")]
    assert sizes == sorted(sizes, reverse=True)
