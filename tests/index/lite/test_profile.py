import pytest

from florence_rag.errors import InputError
from florence_rag.index.lite.profile import LITE, LITE_ROWS


def test_a_server_is_recommended_beyond_the_capacity_of_lite():
    assert not LITE.capacity_advice(LITE_ROWS)
    assert "a Milvus server is recommended" in LITE.capacity_advice(LITE_ROWS + 1)


def test_lite_offers_the_index_types_that_it_loads_again():
    assert LITE.index_types() == ["FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8", "AUTOINDEX"]
    with pytest.raises(InputError, match=r"'scann' is unknown to Milvus Lite; use FLAT, .* or a Milvus server"):
        LITE.check_index_type("scann")


def test_the_requested_index_type_precedes_the_present_one_and_that_the_default():
    assert LITE.choose_index_type("hnsw_sq", "HNSW") == "HNSW_SQ"
    assert LITE.choose_index_type(None, "HNSW") == "HNSW"
    assert LITE.choose_index_type(None, "DISKANN") == "FLAT", "because Lite cannot load it"
    assert LITE.choose_index_type(None, None) == "FLAT"


def test_hnsw_searches_everywhere_under_a_filter():
    assert LITE.search_params("HNSW", 10, filtered=True)["ef"] >= 100_000
    assert LITE.search_params("HNSW", 10, filtered=False)["ef"] == 512


def test_an_ivf_index_has_one_list_all_of_which_is_searched():
    assert LITE.build_params("IVF_FLAT", 8, "fp32") == {"nlist": 1}
    assert LITE.search_params("IVF_FLAT", 10, filtered=True)["nprobe"] == 128


def test_an_exact_index_has_no_parameters():
    assert LITE.search_params("FLAT", 10, filtered=True) == {}
