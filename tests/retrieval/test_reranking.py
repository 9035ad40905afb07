import logging
import time

import numpy as np
import pytest

from florence_rag.errors import MediaError
from florence_rag.retrieval.query import to_query
from florence_rag.retrieval.reranking import rerank
from florence_rag.testing import color_frame
from florence_rag.types import Hit, Locator


class TableReranker:
    """Scores a text by a table, and an image by its brightness."""

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


def test_the_best_score_comes_first_and_is_explained():
    hits = rerank(TableReranker({"a": 0.1, "b": 0.2, "c": 0.9}), HITS, "query", weight=0.75, depth=20)
    assert order(hits) == ["c", "a", "b"]
    assert hits[0].explanation == "reranker score of its text 0.90; found c"


def test_the_first_place_keeps_the_best_score():
    hits = rerank(TableReranker({"a": 0.1, "b": 0.2, "c": 0.9}), HITS, "query", weight=0.75, depth=20)
    assert [each.score for each in hits] == [2.0, 1.0, 0.5]


def test_with_full_weight_the_reranker_alone_decides():
    assert order(rerank(TableReranker({"a": 0.1, "b": 0.2, "c": 0.9}), HITS, "query", weight=1.0, depth=20)) == [
        "c",
        "b",
        "a",
    ]


def test_a_query_with_an_image_leaves_more_to_the_search():
    hits, reranker = [hit("a", 1.0), hit("b", 0.8)], TableReranker({"a": 0.5, "b": 0.65})
    assert order(rerank(reranker, hits, "query", weight=0.75, depth=20)) == ["b", "a"]
    assert order(rerank(reranker, hits, to_query("query", "a.jpg"), weight=0.75, depth=20)) == ["a", "b"]


class SlowReranker(TableReranker):
    def score(self, query, candidates):
        time.sleep(0.01 * len(candidates))
        return super().score(query, candidates)


def test_a_budget_ends_the_scoring_and_the_other_hits_keep_their_places():
    hits = [hit(f"{i:02}", 1 - i / 100) for i in range(40)]
    reranker = SlowReranker({f"{i:02}": i / 40 for i in range(40)})
    ranked = rerank(reranker, hits, "query", weight=1.0, depth=40, budget_ms=150)
    scored = sum(count for _, count in reranker.calls)
    assert 4 <= scored <= 16
    assert order(ranked) == [f"{i:02}" for i in (*reversed(range(scored)), *range(scored, 40))]
    reranker.calls.clear()
    rerank(reranker, hits, "query", weight=1.0, depth=40, budget_ms=0.001)
    assert [count for _, count in reranker.calls] == [4]


def test_low_scores_keep_the_order_of_the_search():
    assert order(rerank(TableReranker({"a": 0.001, "b": 0.002, "c": 0.003}), HITS, "query", weight=0.75, depth=20)) == [
        "a",
        "b",
        "c",
    ]


def test_equal_scores_keep_the_order_of_the_search():
    assert order(rerank(TableReranker({"a": 0.5, "b": 0.5, "c": 0.5}), HITS, "query", weight=1.0, depth=20)) == [
        "a",
        "b",
        "c",
    ]


def test_only_the_first_hits_are_scored_in_one_call():
    reranker = TableReranker({"a": 0.1, "b": 0.9})
    hits = rerank(reranker, HITS, "query", weight=1.0, depth=2)
    assert order(hits) == ["b", "a", "c"]
    assert reranker.calls == [("query", 2)]
    assert hits[2] is HITS[2]


def test_images_are_scored_and_the_best_frame_counts():
    frames = {"dark": [color_frame("black")], "video": [color_frame("black"), color_frame("white")]}
    hits = [hit("dark", 1.0, "image"), hit("video", 0.9, "clip")]
    ranked = rerank(TableReranker(), hits, "light", weight=0.75, depth=20, load_frames=lambda each: frames[each.id])
    assert order(ranked) == ["video", "dark"]
    assert ranked[0].explanation == "reranker score 1.00; found video"


def test_a_reranker_of_texts_scores_the_text_of_an_image():
    hits = [hit("a", 1.0, "image", text="fog"), hit("b", 0.9, "image", text="sun")]
    ranked = rerank(
        TableReranker({"fog": 0.1, "sun": 0.9}, reads=["text"]),
        hits,
        "light",
        weight=0.75,
        depth=20,
        load_frames=pytest.fail,
    )
    assert order(ranked) == ["b", "a"]
    assert ranked[0].explanation.startswith("reranker score of its text 0.90")


def missing(each):
    raise MediaError(f"{each.source!r} is gone")


def test_an_image_whose_file_is_missing_is_scored_by_its_text(caplog):
    hits = [hit("a", 1.0, "image", text="fog"), hit("b", 0.9, "image", text="sun")]
    with caplog.at_level(logging.WARNING, logger="florence_rag"):
        ranked = rerank(
            TableReranker({"fog": 0.1, "sun": 0.9}), hits, "light", weight=0.75, depth=20, load_frames=missing
        )
    assert order(ranked) == ["b", "a"]
    assert caplog.messages == [f"/{name} is ranked without its image: '/{name}' is gone" for name in "ab"]


def test_a_hit_that_cannot_be_scored_keeps_its_place():
    table = {"a": 0.1, "c": 0.9}
    hits = [hit("a", 1.0), hit("mute", 0.9, "image", text=""), hit("c", 0.8)]
    ranked = rerank(TableReranker(table), hits, "light", weight=1.0, depth=20, load_frames=missing)
    assert order(ranked) == ["c", "mute", "a"]
    assert ranked[1] is hits[1]


def test_a_reranker_of_images_keeps_the_places_of_passages():
    hits = [hit("passage", 1.0), hit("dark", 0.9, "image"), hit("light", 0.8, "image")]
    frames = {"dark": [color_frame("black")], "light": [color_frame("white")]}
    ranked = rerank(
        TableReranker(reads=["image"]), hits, "light", weight=1.0, depth=20, load_frames=lambda each: frames[each.id]
    )
    assert order(ranked) == ["passage", "light", "dark"]


def test_no_hits_stay_no_hits():
    assert rerank(TableReranker(), [], "query", weight=1.0, depth=20) == []


def test_a_reranker_that_can_read_no_hit_says_so_and_changes_nothing(caplog):
    images = [hit("a", 2.0, "image", ""), hit("b", 1.0, "image", "")]
    reranker = TableReranker(reads=("text",))
    with caplog.at_level(logging.WARNING):
        assert rerank(reranker, images, "query", weight=0.75, depth=20) == images
    assert "the reranker changes nothing: it reads text" in caplog.text and reranker.calls == []
    caplog.clear()
    assert rerank(reranker, [], "query", weight=0.75, depth=20) == [] and not caplog.text
