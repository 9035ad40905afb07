import pytest
from hypothesis import given
from hypothesis import strategies as st

from florence_rag.errors import InputError
from florence_rag.index.index_types import (
    INDEX_TYPES,
    available_index_types,
    build_params,
    check_index_type,
    find_index_type,
    pq_bytes,
    search_params,
)

NAMED = """FLAT HNSW HNSW_SQ IVF_FLAT IVF_SQ8 IVF_PQ IVF_RABITQ SCANN DISKANN
GPU_CAGRA GPU_IVF_FLAT GPU_IVF_PQ GPU_BRUTE_FORCE BIN_FLAT SPARSE_INVERTED_INDEX""".split()


def test_all_that_milvus_has_for_us_is_there():
    assert set(NAMED) <= set(INDEX_TYPES)


@pytest.mark.parametrize("preset", INDEX_TYPES.values(), ids=list(INDEX_TYPES))
def test_a_preset_is_complete(preset):
    assert preset.summary
    assert preset.refused or preset.recall
    for dimension, width in ((64, 4), (768, 2), (1024, 4)):
        assert preset.memory(dimension, width) >= 0
        assert preset.disk(dimension, width) >= 0
        assert (preset.gpu_memory(dimension, width) > 0) == preset.gpu
    assert isinstance(preset.build(500_000, 768), dict)
    assert isinstance(preset.search(10), dict)


@pytest.mark.parametrize("name", available_index_types())
def test_every_choosable_preset_is_found_in_any_case(name):
    assert find_index_type(name.lower()).name == name
    assert check_index_type(name, lite=False, version="v2.6.4").name == name


def test_lite_offers_what_it_loads_again():
    assert available_index_types(lite=True) == ["FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"]
    with pytest.raises(InputError, match=r"'scann' is unknown to Milvus Lite; use FLAT, .* or a Milvus server"):
        check_index_type("scann", lite=True)


def test_an_old_server_is_told_what_it_lacks_and_what_it_has():
    with pytest.raises(InputError, match=r"'IVF_RABITQ' needs Milvus 2.6, and the server runs v2.5.10; use FLAT, HNSW"):
        check_index_type("IVF_RABITQ", lite=False, version="v2.5.10")
    check_index_type("IVF_RABITQ", lite=False, version="2.10.0")


@pytest.mark.parametrize(
    "name,reason",
    [("BIN_FLAT", "IVF_RABITQ keeps one bit"), ("sparse_inverted_index", "every index uses it")],
)
def test_what_cannot_be_chosen_says_why(name, reason):
    with pytest.raises(InputError, match=f"cannot be chosen: .*{reason}"):
        find_index_type(name)


@given(st.text(max_size=20))
def test_any_other_name_is_refused_in_one_line(name):
    if name.upper() not in INDEX_TYPES:
        with pytest.raises(InputError) as caught:
            find_index_type(name)
        assert "\n" not in str(caught.value)


@given(st.integers(1, 4096))
def test_product_quantization_divides_every_dimension(dimension):
    assert dimension % pq_bytes(dimension) == 0


def test_lists_grow_with_the_root_of_the_rows():
    lists = [INDEX_TYPES["IVF_FLAT"].build(rows, 512)["nlist"] for rows in (0, 10_000, 500_000, 10**9, 10**12)]
    assert lists == [128, 512, 2048, 65536, 65536]


def test_a_segment_of_half_precision_holds_twice_the_rows():
    assert build_params("IVF_FLAT", 512, 2)["nlist"] >= build_params("IVF_FLAT", 512, 4)["nlist"]


@pytest.mark.parametrize("limit", [1, 10, 300, 1024, 16_384])
def test_searches_look_at_least_as_far_as_they_must_return(limit):
    assert search_params("HNSW", limit)["ef"] >= limit
    assert search_params("DISKANN", limit)["search_list"] >= limit
    assert search_params("SCANN", limit)["reorder_k"] >= limit
    most = INDEX_TYPES["GPU_CAGRA"].max_hits
    assert search_params("GPU_CAGRA", min(limit, most))["itopk_size"] >= min(limit, most)


def test_the_smaller_presets_are_smaller():
    sizes = [INDEX_TYPES[name].memory(768, 4) for name in ("HNSW", "IVF_FLAT", "HNSW_SQ", "IVF_SQ8", "IVF_PQ")]
    assert sizes == sorted(sizes, reverse=True)
