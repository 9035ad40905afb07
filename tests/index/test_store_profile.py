import pytest

from florence_rag.errors import InputError
from florence_rag.index.index_types import available_index_types
from florence_rag.index.store_profile import SERVER, server_profile


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
    SERVER.check_vectors("bf16")
    with pytest.raises(InputError, match="vector dtype 'int4' is unknown; use fp32, fp16, bf16"):
        SERVER.check_vectors("int4")


def test_searches_grow_with_the_number_of_hits():
    assert SERVER.search_params("HNSW", 1000, filtered=True)["ef"] == 2000
    assert SERVER.search_params("DISKANN", 80, filtered=False)["search_list"] == 160


def test_a_filter_is_searched_in_more_lists():
    narrow, wide = (SERVER.search_params("SCANN", 10, filtered=filtered) for filtered in (False, True))
    assert wide["nprobe"] > narrow["nprobe"]
    assert SERVER.exhaustive_params(wide) == wide | {"nprobe": 65_536}
    assert SERVER.exhaustive_params({"ef": 512}) == {}


def test_features_that_older_servers_ignore_are_refused():
    with pytest.raises(InputError, match=r"a Milvus server before 2.4 stores vectors as fp32 only, not as bf16"):
        server_profile("v2.3.5-lite").check_vectors("bf16")
    with pytest.raises(InputError, match=r"stores one vector per row; omit the text embedder, or use a newer server"):
        server_profile("2.3.21").check_vectors(None, text_vectors=True)
    server_profile("2.4.15").check_vectors("bf16", text_vectors=True)


@pytest.mark.parametrize(
    ("version", "has_bm25"), [("2.3.5", False), ("v2.4.15", False), ("2.5.0", True), ("main", True)]
)
def test_words_are_searched_from_milvus_2_5_on(version, has_bm25):
    assert server_profile(version).has_bm25 == has_bm25
