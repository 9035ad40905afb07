import numpy as np
import pytest

from florence_rag.embedding.base import unit_rows
from florence_rag.errors import InputError
from florence_rag.retrieval.mmr import pick_diverse

QUERY = np.array([1.0, 0.0])
VECTORS = unit_rows(np.array([[1.0, 0.1], [1.0, 0.11], [1.0, -0.6], [0.0, 1.0]]))


def test_rows_similar_to_the_first_come_late():
    assert pick_diverse(VECTORS @ QUERY, VECTORS, 2) == [0, 2]
    assert pick_diverse(VECTORS @ QUERY, VECTORS, 4)[-1] in (1, 3)


def test_with_full_relevance_the_order_is_by_similarity():
    assert pick_diverse(VECTORS @ QUERY, VECTORS, 4, 1.0) == [0, 1, 2, 3]


def test_without_relevance_the_most_different_row_follows():
    assert pick_diverse(VECTORS @ QUERY, VECTORS, 2, 0.0) == [0, 3]


@pytest.mark.parametrize(("k", "rows", "count"), [(9, 4, 4), (2, 1, 1), (3, 0, 0)])
def test_no_more_rows_are_selected_than_exist(k, rows, count):
    assert len(set(pick_diverse(VECTORS[:rows] @ QUERY, VECTORS[:rows], k))) == count


def test_it_agrees_with_langchain():
    from langchain_core.vectorstores.utils import maximal_marginal_relevance

    rows = unit_rows(np.random.default_rng(3).normal(size=(30, 8)))
    query = unit_rows(np.ones((1, 8)))[0]
    for share in (0.2, 0.5, 0.9):
        assert pick_diverse(rows @ query, rows, 10, share) == maximal_marginal_relevance(query, list(rows), share, 10)


@pytest.mark.parametrize("relevance", [-0.1, 1.5])
def test_relevance_is_a_share(relevance):
    with pytest.raises(InputError, match="between 0 and 1"):
        pick_diverse(VECTORS @ QUERY, VECTORS, 2, relevance)
