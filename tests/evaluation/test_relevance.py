from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from florence_rag.context import Models
from florence_rag.errors import InputError, StoreCorruptError
from florence_rag.evaluation.eval_set import EvalQuery, EvalSet
from florence_rag.evaluation.relevance import calibrate_relevance, fit_logistic, read_off_topic
from florence_rag.index.milvus import MilvusIndex
from florence_rag.rag import FlorenceRAG
from florence_rag.retrieval.retriever import Retriever
from florence_rag.testing import ColorEmbedder, MemoryIndex, color_frame
from florence_rag.testing.doubles import COLORS

PAIRS = list(combinations(COLORS, 2))
ABSENT = set(PAIRS[::2][:20])
IMAGES = [three for three in combinations(COLORS, 3) if ABSENT.isdisjoint(combinations(three, 2))]


def ordered(pair):
    return [f"{one} next to {other}" for one, other in (pair, pair[::-1])]


QUERIES = EvalSet(
    tuple(
        EvalQuery(text, text, relevant)
        for pair in PAIRS
        if (relevant := {"-".join(three): 1.0 for three in IMAGES if {*pair} <= {*three}})
        for text in ordered(pair)
    )
)
OFF_TOPIC = [EvalQuery(text, text, {}) for pair in sorted(ABSENT) for text in ordered(pair)]


@pytest.fixture
def rag(tmp_path):
    """Images of three colors each. Queries name two of them; 20 pairs of colors are in no image."""
    index = MilvusIndex.open(str(tmp_path / "a.db"), ColorEmbedder.info)
    with FlorenceRAG(index, Models.of(ColorEmbedder()), images=tmp_path / "images") as rag:
        rag.items.upsert_images([color_frame(*three) for three in IMAGES], ids=["-".join(three) for three in IMAGES])
        yield rag


def test_the_fit_is_stored_in_the_index_and_used_by_searches(rag):
    assert not rag.retriever.is_calibrated
    report = calibrate_relevance(QUERIES, OFF_TOPIC, rag.context)
    assert report.counts == {"queries": len(QUERIES.queries) // 2, "off-topic queries": 20}
    assert report["kept of these at 5 % false alarms"].value == 1
    error, error_before = (report[f"{name}calibration error of the first five"].value for name in ("", "before: "))
    assert error < 0.05 < error_before
    fitted = Retriever(rag.context)
    assert fitted.is_calibrated and fitted.calibrations["image"].similarity > 0
    right, wrong = (fitted.search(query.text, k=1)[0].relevance for query in (QUERIES.queries[0], OFF_TOPIC[0]))
    assert right > 0.9 > 0.1 > wrong
    rag.index.put_calibrations({})
    assert not Retriever(rag.context).is_calibrated


def test_a_fit_that_ranks_dissimilar_hits_first_is_refused(rag):
    wrong = [
        replace(query, relevant={id: 1.0 for three in IMAGES if (id := "-".join(three)) not in query.relevant})
        for query in QUERIES.queries
    ]
    with pytest.raises(InputError, match="more similar than the others"):
        calibrate_relevance(EvalSet(tuple(wrong)), OFF_TOPIC, rag.context)


def test_a_calibration_that_is_not_finite_is_damage(rag):
    rag.index.put_calibrations({"image": {"offset": float("nan")}})
    with pytest.raises(StoreCorruptError, match="not finite"):
        rag.index.calibrations()


@pytest.mark.parametrize(
    ("queries", "off_topic", "message"),
    [
        (replace(QUERIES, queries=QUERIES.queries[:59]), OFF_TOPIC, "59 queries of the test set are too few"),
        (QUERIES, OFF_TOPIC[:39], "39 off-topic queries are too few"),
        (QUERIES, OFF_TOPIC, "the index has none of the"),
    ],
)
def test_too_small_a_set_is_refused(queries, off_topic, message):
    index = MemoryIndex(ColorEmbedder.info)
    with FlorenceRAG(index, Models.of(ColorEmbedder())) as rag, pytest.raises(InputError, match=message):
        calibrate_relevance(queries, off_topic, rag.context)


def test_off_topic_queries_are_the_different_lines_of_a_file(tmp_path):
    (tmp_path / "off.txt").write_text("a piano\n\n a piano \ntwo elephants\n")
    assert [query.text for query in read_off_topic(tmp_path / "off.txt")] == ["a piano", "two elephants"]
    with pytest.raises(InputError, match=r"gone\.txt"):
        read_off_topic(tmp_path / "gone.txt")


def test_the_true_weights_are_found_and_a_constant_has_none():
    rng = np.random.default_rng(0)
    features = np.column_stack([rng.normal(0.3, 0.1, 4000), rng.normal(0, 0.02, 4000), np.full(4000, 5.5)])
    odds = 20 * features[:, 0] - 50 * features[:, 1] - 6
    weights, offset = fit_logistic(features, (rng.random(4000) < 1 / (1 + np.exp(-odds))).astype(float))
    assert weights == pytest.approx([20, -50, 0], rel=0.1) and offset == pytest.approx(-6, rel=0.1)
