"""Grouped search against ungrouped search of everything, on an index in Milvus Lite."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from florence_rag.context import Context, Models
from florence_rag.image_store import ImageStore
from florence_rag.index.milvus import MilvusIndex
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.retrieval.grouping import group_hits
from florence_rag.retrieval.perceptual_hash import hash_image
from florence_rag.retrieval.relevance import Calibration
from florence_rag.retrieval.retriever import Retriever
from florence_rag.testing import ColorEmbedder, color_frame
from florence_rag.types import KINDS, PERCEPTUAL_HASH, Chunk, Locator, Source

COLORS = ("red", "green", "blue", "white")
ALL = 200


class CalibratedRetriever(Retriever):
    calibrations = dict.fromkeys(KINDS, Calibration(similarity=8.0, offset=-4.0))


def chunks():
    """Yield the chunks of each source: images, some of them near-duplicates with regions, videos, and pages."""
    for number, colors in enumerate(product(COLORS, repeat=2)):
        frame = color_frame(*colors)
        for copy in range(1 + number % 3):
            image = Source(f"/{number}-{copy}.jpg", "image", 1, 1, f"{number}-{copy}")
            hashed = {PERCEPTUAL_HASH: hash_image(frame)}
            regions = (None, (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0))[: 1 + number % 4]
            boxes = [Locator(box=box) for box in regions]
            yield [Chunk(image, "image", place, frames=(frame,), metadata=hashed) for place in boxes]
        video = Source(f"/{number}.mp4", "video", 1, 1, str(number))
        spans = [Locator(start_s=float(second), end_s=second + 1.0) for second in range(number % 5)]
        frames = [color_frame(*colors, COLORS[second % 4]) for second in range(number % 5)]
        yield [Chunk(video, "clip", place, frames=(each,)) for place, each in zip(spans, frames, strict=True)]
        document = Source(f"/{number}.pdf", "pdf", 1, 1, str(number))
        yield [Chunk(document, "page", Locator(page=page), frames=(frame,)) for page in (1, 2)]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    embedder = ColorEmbedder()
    with MilvusIndex.open(str(tmp_path_factory.mktemp("grouped") / "a.db"), embedder.info) as index:
        for some in filter(None, chunks()):
            index.begin(some[0].source)
            index.add(some, embedder.embed_images([chunk.frames[0] for chunk in some]))
            index.complete(some[0].source)
        yield index


@settings(max_examples=40, deadline=None)
@given(
    query=st.lists(st.sampled_from(COLORS), min_size=1, max_size=3).map(" ".join),
    k=st.integers(1, 30),
    kinds=st.sampled_from([None, {"image"}, {"clip"}, {"image", "page"}]),
    candidates=st.integers(1, 20),
    max_grouped=st.integers(0, 5),
)
def test_grouped_search_is_that_of_all_hits_grouped_afterwards(index, query, k, kinds, candidates, max_grouped):
    context = Context(index, Models.of(ColorEmbedder()), ImageStore(index))
    config = RetrievalConfig(candidates_per_branch=candidates, max_grouped=max_grouped)
    retriever = CalibratedRetriever(context, config)
    grouped = retriever.search(query, k, kinds)
    every = retriever.search(query, ALL, kinds, group=False)
    expected = group_hits(every, ALL)[:k]
    assert [hit.id for hit in grouped] == [hit.id for hit in expected]
    for hit, whole in zip(grouped, expected, strict=True):
        found, members = ([each.id for each in one.grouped_hits] for one in (hit, whole))
        assert len(found) <= max_grouped and set(found) <= set(members), "a deeper search finds more of a group"
    for hits in (grouped, *((hit, *hit.grouped_hits) for hit in grouped)):
        relevances = [hit.relevance for hit in hits]
        assert relevances == sorted(relevances, reverse=True)
