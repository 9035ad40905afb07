import logging
import math

import numpy as np
import pytest

from florence_rag.context import Models
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import randomization_test
from florence_rag.evaluation.eval_set import EvalQuery, EvalSet, build_eval_set
from florence_rag.evaluation.ranking import compare_runs, measure, read_run, run_queries, score_ranking, write_run
from florence_rag.rag import FlorenceRAG
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.testing import ColorEmbedder, MemoryIndex, ScriptedCaptioner, color_frame


@pytest.mark.parametrize(
    "ranked,relevant,expected",
    [
        ("abc", {"a": 1.0}, (1, 1, 1, 1)),
        ("abc", {"c": 1.0}, (0, 1, 1 / 3, 1 / 2)),
        ("abc", {"b": 1.0, "c": 1.0}, (0, 1, 1 / 2, (1 / math.log2(3) + 1 / 2) / (1 + 1 / math.log2(3)))),
        ("ab", {"a": 1.0, "b": 3.0}, (1 / 2, 1, 1, (1 + 3 / math.log2(3)) / (3 + 1 / math.log2(3)))),
        ("abcdefghijk", {"k": 1.0}, (0, 0, 0, 0)),
        ("", {"a": 1.0}, (0, 0, 0, 0)),
    ],
)
def test_the_metrics_of_one_ranking(ranked, relevant, expected):
    assert score_ranking(list(ranked), relevant) == pytest.approx(expected)


class CaptionReader:
    """A reranker that reads texts alone, and so finds each caption in itself."""

    reads = frozenset({"text"})

    def score(self, query, inputs):
        return np.array([float(query in each) for each in inputs])


@pytest.fixture
def rag(tmp_path):
    """Images of two colors, whose captions are exchanged, so words alone rank them wrong."""
    captions = {"red": "a blue wall", "blue": "a red wall"}
    models = Models.of(ColorEmbedder(), captioner=ScriptedCaptioner(captions))
    with FlorenceRAG(MemoryIndex(ColorEmbedder.info), models, images=tmp_path) as rag:
        ids = rag.items.upsert_images([color_frame("red"), color_frame("blue")], ids=["red", "blue"])
        assert ids == ["red", "blue"]
        yield rag


def test_a_caption_does_not_find_itself_by_its_words(rag):
    built = build_eval_set(rag.index)
    assert {query.text: [*query.relevant] for query in built.queries} == {
        "a blue wall": ["red"],
        "a red wall": ["blue"],
    }
    rag.models.reranker = CaptionReader()
    run = run_queries(built, rag.context)
    assert {query.text: next(iter(run[query.id])) for query in built.queries} == {
        "a blue wall": "blue",
        "a red wall": "red",
    }
    by_hand = EvalSet(tuple(EvalQuery(each.id, each.text, each.relevant) for each in built.queries))
    run = run_queries(by_hand, rag.context)
    assert {query.text: next(iter(run[query.id])) for query in built.queries} == {
        "a blue wall": "red",
        "a red wall": "blue",
    }


def test_a_branch_of_weight_0_is_left_out(rag):
    queries = EvalSet((EvalQuery("1", "wall", {"red": 1.0}),))
    without = RetrievalConfig(image_weight=0.0, bm25_weight=0.0, phrase_weight=0.0)
    assert run_queries(queries, rag.context)["1"] and not run_queries(queries, rag.context, without)["1"]


def test_right_documents_that_the_index_lacks_are_reported(rag, caplog):
    queries = EvalSet((EvalQuery("1", "a red wall", {"red": 1.0}), EvalQuery("2", "a dog", {"gone": 1.0})))
    with caplog.at_level(logging.WARNING):
        run_queries(queries, rag.context)
    assert "the index lacks 1 of 2 right chunks" in caplog.text
    for level in ("chunk", "source"):
        with pytest.raises(InputError, match=f"the index has none of the 1 right {level}s"):
            run_queries(EvalSet(queries.queries[1:], level), rag.context)
    assert run_queries(EvalSet((EvalQuery("1", "red", {"item:red": 1.0}),), "source"), rag.context)["1"].keys() == {
        "item:red",
        "item:blue",
    }


def queries_of(*fields: str) -> EvalSet:
    return EvalSet(tuple(EvalQuery(str(n), "x", {f"d{n}": 1.0}, field) for n, field in enumerate(fields)))


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = {"0": {"d0": 0.9, "d1": 0.5}, "1": {}}
    write_run(run, tmp_path / "run.json")
    assert read_run(tmp_path / "run.json") == run
    for wrong, message in (("[]", "is not a run"), ('{"0": {"d0": true}}', "a score"), ("{", "is not JSON")):
        (tmp_path / "run.json").write_text(wrong)
        with pytest.raises(InputError, match=message):
            read_run(tmp_path / "run.json")


def test_metrics_are_those_of_all_queries_and_of_each_field():
    queries = queries_of("caption", "caption", "text")
    measured = measure(queries, {"0": {"d0": 1.0}, "1": {}, "2": {"x": 0.9, "d2": 0.5}})
    assert {field: [metric.value for metric in metrics][2] for field, metrics in measured.items()} == {
        "all": 0.5,
        "caption": 0.5,
        "text": 0.5,
    }
    with pytest.raises(InputError, match="the run lacks the query '0'"):
        measure(queries, {})


def test_a_better_run_differs_and_an_equal_one_does_not():
    queries = queries_of(*[""] * 40)
    good = {query.id: {f"d{query.id}": 1.0} for query in queries.queries}
    poor = good | {str(number): {"x": 1.0} for number in range(12)}
    recall = compare_runs(queries, poor, good)[1]
    assert (recall.metric, recall.first, recall.second) == ("R@10", 0.7, 1.0)
    assert recall.difference == pytest.approx(0.3) and 0.1 < recall.low < 0.3 < recall.high < 0.5
    assert recall.p_value < 0.01
    same = compare_runs(queries, poor, poor)[1]
    assert (same.difference, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_the_p_value_is_that_of_all_signs():
    assert randomization_test(np.ones(5)) == pytest.approx(2 / 2**5, abs=0.01)
    assert randomization_test(np.ones(10), list("aabbccddee")) == pytest.approx(2 / 2**5, abs=0.01)
    rng = np.random.default_rng(1)
    chances = [randomization_test(rng.normal(size=30), resamples=200) for _ in range(200)]
    assert np.mean([chance <= 0.05 for chance in chances]) == pytest.approx(0.05, abs=0.04)
