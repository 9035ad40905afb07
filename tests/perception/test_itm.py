import numpy as np
import pytest

from florence_rag.errors import InputError
from florence_rag.perception.base import Reranker
from florence_rag.perception.itm import MatcherReranker
from florence_rag.testing import ColorVQA, color_frame

RERANKER = MatcherReranker(ColorVQA())


def test_pictures_are_scored_by_how_well_the_query_describes_them():
    scores = RERANKER.score("something red", [color_frame("red"), color_frame("blue"), color_frame("red", "blue")])
    assert np.allclose(scores, [1, 0, 0.5**0.5], atol=0.01)
    assert scores.dtype == np.float32
    assert RERANKER.score("red", []).shape == (0,)


def test_it_reads_pictures_only():
    assert isinstance(RERANKER, Reranker)
    assert RERANKER.reads == {"image"}
    with pytest.raises(InputError, match="a matcher reads images only; rerank passages with a cross-encoder"):
        RERANKER.score("red", [color_frame("red"), "a red car"])
