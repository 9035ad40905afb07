from florence_rag.index.lite.tuning import LITE_ROWS, build_params, capacity_advice, search_params


def test_a_server_is_due_beyond_what_lite_bears():
    assert not capacity_advice(LITE_ROWS)
    assert "a Milvus server is due" in capacity_advice(LITE_ROWS + 1)


def test_hnsw_searches_everywhere_under_a_filter():
    assert search_params("HNSW", 10, filtered=True)["ef"] > 100 * search_params("HNSW", 10, filtered=False)["ef"]


def test_an_ivf_index_has_one_list_all_of_which_is_searched():
    assert build_params("IVF_FLAT") == {"nlist": 1}
    assert search_params("IVF_FLAT", 10, filtered=False)["nprobe"] >= 1
