import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.perception.base import MatcherReranker, Reranker, VQAResult
from florence_rag.testing import ColorVQA, color_frame

RERANKER = MatcherReranker(ColorVQA())


def test_images_are_scored_by_how_well_the_query_describes_them():
    scores = RERANKER.score("something red", [color_frame("red"), color_frame("blue"), color_frame("red", "blue")])
    assert np.allclose(scores, [1, 0, 0.5**0.5], atol=0.01)
    assert scores.dtype == np.float32
    assert RERANKER.score("red", []).shape == (0,)


def test_a_matcher_reranks_images_only():
    assert isinstance(RERANKER, Reranker)
    assert RERANKER.reads == {"image"}
    with pytest.raises(InputError, match="a matcher reads images only; rerank passages with a cross-encoder"):
        RERANKER.score("red", [color_frame("red"), "a red car"])


def test_a_ranked_result_starts_with_the_best_candidate():
    assert VQAResult.ranked([("red", 0.7), ("blue", 0.2)]) == VQAResult("red", 0.7, (("red", 0.7), ("blue", 0.2)))
    assert VQAResult.ranked([]) == VQAResult("", 0.0, ())
