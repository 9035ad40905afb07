import logging

import numpy as np
import pytest

from florence_rag.errors import MediaError
from florence_rag.retrieval.reranking import Reranking
from florence_rag.testing import color_frame
from florence_rag.types import Hit, Locator


class Judge:
    """Scores a text by a table, and a picture by how bright it is."""

    def __init__(self, table=None, reads=("image", "text")):
        self.table = table or {}
        self.reads = frozenset(reads)
        self.calls = []

    def score(self, query, candidates):
        self.calls.append((query, len(candidates)))
        fits = [self.table[each] if isinstance(each, str) else each.mean() / 255 for each in candidates]
        return np.array(fits, dtype=np.float32)


def hit(name, score, kind="text", text=None):
    return Hit(name, kind, f"/{name}", Locator(), score, name if text is None else text, explanation=f"found {name}")


def order(hits):
    return [each.id for each in hits]


HITS = [hit("a", 2.0), hit("b", 1.0), hit("c", 0.5)]


def test_what_fits_best_comes_first_and_says_so():
    hits = Reranking(Judge({"a": 0.1, "b": 0.2, "c": 0.9}), None, 20)(HITS, "query", 0.75)
    assert order(hits) == ["c", "a", "b"]
    assert hits[0].explanation == "its words fit the query (0.90); found c"


def test_the_best_place_keeps_the_best_score():
    hits = Reranking(Judge({"a": 0.1, "b": 0.2, "c": 0.9}), None, 20)(HITS, "query", 0.75)
    assert [each.score for each in hits] == [2.0, 1.0, 0.5]


def test_with_the_whole_say_the_reranker_alone_decides():
    reranking = Reranking(Judge({"a": 0.1, "b": 0.2, "c": 0.9}), None, 20)
    assert order(reranking(HITS, "query", 1.0)) == ["c", "b", "a"]


def test_where_nothing_fits_the_order_of_the_search_stands():
    reranking = Reranking(Judge({"a": 0.001, "b": 0.002, "c": 0.003}), None, 20)
    assert order(reranking(HITS, "query", 0.75)) == ["a", "b", "c"]


def test_equal_fits_keep_the_order_of_the_search():
    reranking = Reranking(Judge({"a": 0.5, "b": 0.5, "c": 0.5}), None, 20)
    assert order(reranking(HITS, "query", 1.0)) == ["a", "b", "c"]


def test_only_the_best_are_looked_at_and_all_at_once():
    judge = Judge({"a": 0.1, "b": 0.9})
    hits = Reranking(judge, None, 2)(HITS, "query", 1.0)
    assert order(hits) == ["b", "a", "c"]
    assert judge.calls == [("query", 2)]
    assert hits[2] is HITS[2]


def test_pictures_are_looked_at_and_of_several_the_best_counts():
    frames = {"dark": [color_frame("black")], "film": [color_frame("black"), color_frame("white")]}
    hits = [hit("dark", 1.0, "image"), hit("film", 0.9, "clip")]
    ranked = Reranking(Judge(), lambda each: frames[each.id], 20)(hits, "light", 0.75)
    assert order(ranked) == ["film", "dark"]
    assert ranked[0].explanation == "fits the query (1.00); found film"


def test_a_reranker_of_texts_reads_what_is_known_of_a_picture():
    hits = [hit("a", 1.0, "image", text="fog"), hit("b", 0.9, "image", text="sun")]
    ranked = Reranking(Judge({"fog": 0.1, "sun": 0.9}, reads=["text"]), pytest.fail, 20)(hits, "light", 0.75)
    assert order(ranked) == ["b", "a"]
    assert ranked[0].explanation.startswith("its words fit the query (0.90)")


def gone(each):
    raise MediaError(f"{each.source!r} is gone")


def test_a_picture_whose_file_is_gone_is_judged_by_its_words(caplog):
    hits = [hit("a", 1.0, "image", text="fog"), hit("b", 0.9, "image", text="sun")]
    with caplog.at_level(logging.WARNING, logger="florence_rag"):
        ranked = Reranking(Judge({"fog": 0.1, "sun": 0.9}), gone, 20)(hits, "light", 0.75)
    assert order(ranked) == ["b", "a"]
    assert caplog.messages == [f"/{name} is ranked without its picture: '/{name}' is gone" for name in "ab"]


def test_a_hit_that_cannot_be_judged_keeps_its_place():
    table = {"a": 0.1, "c": 0.9}
    hits = [hit("a", 1.0), hit("mute", 0.9, "image", text=""), hit("c", 0.8)]
    ranked = Reranking(Judge(table), gone, 20)(hits, "light", 1.0)
    assert order(ranked) == ["c", "mute", "a"]
    assert ranked[1] is hits[1]


def test_a_judge_of_pictures_leaves_passages_where_they_are():
    hits = [hit("passage", 1.0), hit("dark", 0.9, "image"), hit("light", 0.8, "image")]
    frames = {"dark": [color_frame("black")], "light": [color_frame("white")]}
    ranked = Reranking(Judge(reads=["image"]), lambda each: frames[each.id], 20)(hits, "light", 1.0)
    assert order(ranked) == ["passage", "light", "dark"]


def test_nothing_found_is_nothing_reranked():
    assert Reranking(Judge(), None, 20)([], "query", 1.0) == []
