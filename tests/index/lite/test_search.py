import random

import numpy as np
import pytest
from milvus_lite.engine import collection as lite
from milvus_lite.index.sparse_inverted import SparseInvertedIndex

from florence_rag.index.lite import search
from florence_rag.index.lite.term_index import TermIndex, bm25_scores

WORDS = ("red", "car", "tree", "blue", "bus")


@pytest.fixture
def by_lite(monkeypatch):
    """Calls a function while Milvus Lite searches by itself."""

    def call(function):
        with monkeypatch.context() as patched:
            patched.setattr(lite, "execute_search_with_index", search._search_vectors)
            patched.setattr(lite.Collection, "_search_sparse", search._search_terms)
            return function()

    return call


def found(hits):
    return [(hit.id, hit.score, hit.text, dict(hit.metadata)) for hit in hits]


@pytest.mark.parametrize(("seed", "index_type"), [(0, "FLAT"), (1, "HNSW")])
def test_rows_are_found_as_by_milvus_lite_after_any_writes(open_index, put, unit, by_lite, seed, index_type):
    index, turn = open_index(index_type=index_type), random.Random(seed)
    for step in range(40):
        uri = f"/photos/{turn.randrange(8)}.jpg"
        match turn.randrange(5):
            case 0:
                index.flush()
            case 1:
                index.delete_sources([uri])
            case _:
                text = " ".join(turn.choices(WORDS, k=4))
                put(index, uri, n=turn.randrange(1, 5), version=step, text=text, metadata={"city": turn.choice("ab")})
        query = unit(seed=step)[0]
        for k, options in [(3, {}), (50, {"filter": {"metadata.city": "a"}}), (50, {"kinds": {"text"}})]:
            by_vector = found(index.search_vector(query, k, **options))
            assert by_vector == by_lite(lambda: found(index.search_vector(query, k, **options)))  # noqa: B023
        words = {hit.id for hit in index.search_bm25("red bus", 100)}
        assert words == by_lite(lambda: {hit.id for hit in index.search_bm25("red bus", 100)})


def test_a_term_is_as_rare_as_among_all_present_rows(open_index, db, tmp_path, put):
    flushed_once, often = open_index(), open_index(uri=str(tmp_path / "often.db"))
    put(often, "/photos/deleted.jpg", n=4, text="a red car")
    for number, text in enumerate(("a red car", "a red tree with a red leaf", "a blue car", "a red bus", "a dog")):
        put(often, f"/photos/{number}.jpg", text="a car, replaced later")
        for index in (flushed_once, often):
            put(index, f"/photos/{number}.jpg", text=text)
        often.flush()
    often.delete_sources(["/photos/deleted.jpg"])
    flushed_once.flush()
    hits = often.search_bm25("red car", 5)
    assert found(hits) == found(flushed_once.search_bm25("red car", 5))
    assert hits[0].text == "a red car"


def test_scores_are_those_of_milvus_lite_for_one_segment():
    random_numbers = np.random.default_rng(0)
    rows = [
        {int(term): float(random_numbers.integers(1, 5)) for term in random_numbers.choice(40, size, replace=False)}
        for size in random_numbers.integers(0, 12, 200)
    ]
    pair = np.dtype([("term", "<u4"), ("count", "<f4")])
    packed = [np.array(list(row.items()), pair).tobytes() or None for row in rows]
    theirs = SparseInvertedIndex(k1=1.2, b=0.5)
    theirs.build(rows)
    query = {3: 1.0, 17: 2.0, 99: 1.0}
    (ids,), (distances,) = theirs.search([query], 200)
    (scores,) = bm25_scores([TermIndex(packed)], [np.ones(len(rows), bool)], query, k1=1.2, b=0.5)
    assert set(ids[ids >= 0]) == set(np.flatnonzero(scores))
    np.testing.assert_allclose(-distances[ids >= 0], scores[ids[ids >= 0]], rtol=1e-5)


def test_an_index_without_terms_scores_nothing():
    current = [np.ones(0, bool), np.ones(2, bool)]
    (none, empty) = bm25_scores([TermIndex([]), TermIndex([None, b""])], current, {1: 1.0}, k1=1.5, b=0.75)
    assert (none.tolist(), empty.tolist()) == ([], [0.0, 0.0])
