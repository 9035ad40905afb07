"""A search with a threshold asks a matcher; one without a threshold asks none."""

import pytest

from florence_rag.context import Context, LazyValue, Models, loaded
from florence_rag.errors import InputError
from florence_rag.image_store import ImageStore
from florence_rag.retrieval import relevance
from florence_rag.retrieval.config import RetrievalConfig
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
    hits = retriever.search("blue", group=False, min_relevance=1e-9)
    assert [(hit.id, hit.score) for hit in hits] == [(hit.id, hit.score) for hit in plain] and matcher.seen == 3


def test_a_matcher_judges_as_many_hits_as_the_depth_says(retriever, matcher):
    for depth in (0, 1, 3):
        retriever.config, matcher.seen = RetrievalConfig(match_depth=depth), 0
        hits = retriever.search("green", group=False, min_relevance=0.4)
        assert (len(hits), matcher.seen) == (3 - depth, depth)
    with pytest.raises(InputError, match="match_depth"):
        RetrievalConfig(match_depth=-1)


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


def test_a_hit_is_judged_by_its_best_frame():
    def load(_):
        return tuple(map(frame, COLORS))

    (judged,) = match_images([hit(relevance=0.5)], "blue", loaded(ColorVQA()), load)
    assert judged.explanation == "image match 1.00"
