from florence_rag.batching import batched


def test_batched():
    assert [list(batch) for batch in batched("abcde", 2)] == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batched([], 2)) == []
