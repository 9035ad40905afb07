"""A search with a threshold asks a matcher; one without a threshold asks none."""

import time
from dataclasses import replace

import pytest

from florence_rag.context import Context, LazyValue, Models, loaded
from florence_rag.errors import InputError, MediaError
from florence_rag.image_store import ImageStore
from florence_rag.retrieval import relevance
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.retrieval.grouping import first_groups
from florence_rag.retrieval.image_match import could_reach, match_images
from florence_rag.retrieval.query import Query, QueryPart, to_query
from florence_rag.retrieval.relevance import Calibration
from florence_rag.retrieval.retriever import Retriever
from florence_rag.testing import ColorEmbedder, ColorVQA, MemoryIndex, color_frame
from florence_rag.types import Chunk, Hit, Locator, Source

COLORS = ("red", "red-blue", "blue")


class Images(ImageStore):
    """Draws the image of a hit again, of the colors that its source names."""

    def frames(self, hit, chunking=None):
        return (frame(hit.source),)


class CountingMatcher(ColorVQA):
    """Matches as ColorVQA does, and counts the images."""

    seen = 0

    def match(self, frames, texts):
        self.seen += len(frames)
        return super().match(frames, texts)


def frame(name):
    return color_frame(*name.strip("/").split("-"))


@pytest.fixture
def matcher():
    return CountingMatcher()


@pytest.fixture
def retriever(matcher, monkeypatch):
    """A retriever whose calibration gives every image the relevance 0.5."""
    embedder = ColorEmbedder()
    monkeypatch.setattr(relevance, "_calibrations", lambda: {embedder.info.fingerprint: {"image": Calibration()}})
    index = MemoryIndex(embedder.info)
    for name in COLORS:
        source = Source(f"/{name}", "image", 1, 1, name)
        index.begin(source)
        index.add([Chunk(source, "image", frames=(frame(name),))], embedder.embed_images([frame(name)]))
        index.complete(source)
    return Retriever(Context(index, Models.of(embedder, matcher=matcher), Images(index)))


def test_with_a_threshold_a_matcher_decides_and_ranks(retriever, matcher):
    plain = retriever.search("blue", group=False)
    assert [hit.relevance for hit in plain] == [0.5] * 3 and matcher.seen == 0
    hits = retriever.search("blue", group=False, min_relevance=0.5)
    assert [hit.source for hit in hits] == ["/blue", "/red-blue"] and matcher.seen == 3
    assert hits[0].relevance == hits[0].score > 0.9 and hits[0].explanation.endswith("image match 1.00")


def test_fused_ranks_stay_as_they_are(retriever, matcher, monkeypatch):
    monkeypatch.setattr(relevance, "_calibrations", dict)
    plain = retriever.search("blue", group=False)
    hits = retriever.search("blue", group=False, min_relevance=0)
    assert [(hit.id, hit.score) for hit in hits] == [(hit.id, hit.score) for hit in plain] and matcher.seen == 3


@pytest.mark.parametrize(("depth", "k", "seen"), [(0, 1, 0), (1, 1, 1), (1, 2, 2), (2, 1, 2), (8, 1, 3)])
def test_a_matcher_judges_as_many_hits_as_are_asked_for_and_no_other_image_is_found(retriever, matcher, depth, k, seen):
    retriever.config = RetrievalConfig(match_depth=depth)
    hits = retriever.search("green", k, group=False, min_relevance=0.4)
    assert (len(hits), matcher.seen) == (k if depth == 0 else 0, seen)


def test_a_match_depth_is_not_negative():
    with pytest.raises(InputError, match="match_depth"):
        RetrievalConfig(match_depth=-1)


def test_the_clips_of_a_video_count_as_one_hit():
    clips = [Hit(f"v{n}", "clip", "/v.mp4", Locator(), 1.0) for n in range(9)]
    images = [Hit(name, "image", f"/{name}", Locator(), 0.5) for name in COLORS]
    assert [hit.id for hit in first_groups([*clips, *images], 3)] == ["v0", "v1", "v2", "v3", "red", "red-blue"]


def test_what_is_not_judged_in_time_is_left_out_with_a_warning(caplog):
    class SlowMatcher(ColorVQA):
        def match(self, frames, texts):
            time.sleep(0.02)
            return super().match(frames, texts)

    hits = [replace(hit(relevance=0.5), id=str(number)) for number in range(9)]
    found = match_images(hits, "blue", loaded(SlowMatcher()), lambda _: (frame("blue"),), budget_ms=1)
    assert [each.id for each in found] == ["0", "1", "2", "3"] and "4 of 9 images were judged in time" in caplog.text


def test_a_hit_without_relevance_ranks_by_that_which_its_match_gives_it():
    unknown = replace(hit(relevance=0.0), score=0.0)
    (judged,) = match_images([unknown], "blue", loaded(ColorVQA()), lambda _: (frame("blue"),), by_relevance=True)
    assert judged.score == judged.relevance > 0.4


def test_a_hit_whose_image_is_gone_keeps_its_relevance():
    def load(_):
        raise MediaError("gone")

    assert match_images([hit(relevance=0.5)], "blue", loaded(ColorVQA()), load) == [hit(relevance=0.5)]


def test_what_is_unwanted_fits_less(retriever):
    unlike_red = Query(["blue", QueryPart("red", weight=-1)])
    hits = retriever.search(unlike_red, group=False, min_relevance=0.5)
    assert [hit.source for hit in hits] == ["/blue"]


def test_an_image_in_the_query_is_compared_by_the_search_alone(retriever, matcher):
    assert retriever.search(to_query("blue", color_frame("blue")), min_relevance=0.1) and matcher.seen == 0


def hit(**fields):
    return Hit("a", "image", "/blue", Locator(), 1.0, **fields)


def test_no_matcher_is_loaded_for_hits_that_no_image_decides():
    def load():
        raise AssertionError("loaded")

    hits = [hit(relevance=0.3, term_share=0.5), hit(), Hit("b", "text", "/b", Locator(), 1.0, relevance=0.1)]
    assert match_images(hits, "blue", LazyValue(load), frame) == hits


def test_a_hit_that_even_a_perfect_match_leaves_below_the_threshold_is_not_judged():
    assert could_reach(hit(relevance=0.1), 0.7) and not could_reach(hit(relevance=0.01), 0.7)
    for start in (0.01, 0.1, 0.5):
        (best,) = match_images([hit(relevance=start)], "blue", loaded(ColorVQA()), lambda each: (frame(each.source),))
        assert could_reach(hit(relevance=start), best.relevance) and not could_reach(
            hit(relevance=start), best.relevance + 1e-6
        )


def test_a_certain_hit_has_any_threshold_without_a_matcher():
    assert could_reach(hit(relevance=1.0), 1.0)


def test_a_hit_is_judged_by_its_best_frame():
    def load(_):
        return tuple(map(frame, COLORS))

    (judged,) = match_images([hit(relevance=0.5)], "blue", loaded(ColorVQA()), load)
    assert judged.explanation == "image match 1.00"
