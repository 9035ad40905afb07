import pytest

from florence_rag.errors import InputError
from florence_rag.index.index_types import available_index_types
from florence_rag.index.store_profile import SERVER


@pytest.mark.parametrize("name", available_index_types())
def test_a_current_server_supports_every_available_type(name):
    assert SERVER.check_index_type(name, version="v2.6.4").name == name


def test_an_old_server_is_refused_with_the_types_that_it_has():
    with pytest.raises(InputError, match=r"'IVF_RABITQ' needs Milvus 2.6, and the server runs v2.5.10; use FLAT, HNSW"):
        SERVER.check_index_type("IVF_RABITQ", version="v2.5.10")
    SERVER.check_index_type("IVF_RABITQ", version="2.10.0")


def test_the_requested_index_type_precedes_the_present_one_and_that_the_default():
    assert SERVER.choose_index_type("hnsw_sq", "FLAT") == "HNSW_SQ"
    assert SERVER.choose_index_type(None, "DISKANN") == "DISKANN"
    assert SERVER.choose_index_type(None, None) == "HNSW"


def test_vectors_have_known_precisions():
    SERVER.check_vector_dtype("bf16")
    with pytest.raises(InputError, match="vector dtype 'int4' is unknown; use fp32, fp16, bf16"):
        SERVER.check_vector_dtype("int4")


def test_searches_grow_with_the_number_of_hits():
    assert SERVER.search_params("HNSW", 1000, filtered=True)["ef"] == 2000
    assert SERVER.search_params("DISKANN", 80, filtered=False)["search_list"] == 160
