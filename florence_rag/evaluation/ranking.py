"""Ranks the chunks of an index for the queries of a test set, and compares two such runs.

A run maps each query to its documents with their scores, best first. Its JSON is that of BEIR and ranx, so their tools
read it. R@K is the share of right documents among the first K; MRR@10 the mean reciprocal rank of the first right one,
0 after ten; nDCG@10 weighs the gain of each place by its logarithm, relative to the best order.

Two runs are compared query by query: the mean difference has a bootstrap interval, and a randomization test tells
how often a difference as large follows from chance alone (Smucker, Allan, Carterette, CIKM 2007).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from florence_rag.batching import batched
from florence_rag.context import Context
from florence_rag.datasets.dataset_io import read_json
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import mean_interval, randomization_test
from florence_rag.evaluation.eval_set import EvalSet
from florence_rag.evaluation.image_reading import Track
from florence_rag.evaluation.report import Metric
from florence_rag.index.base import ChunkIndex, Filter
from florence_rag.retrieval.config import RetrievalConfig
from florence_rag.retrieval.retriever import Retriever
from florence_rag.telemetry import get_logger
from florence_rag.types import Kind
from florence_rag.validation import validate_arguments

log = get_logger(__name__)

Run = Mapping[str, Mapping[str, float]]
METRICS = ("R@1", "R@10", "MRR@10", "nDCG@10")
ALL = "all"
_DEPTH = 10
_CHUNKS_PER_SOURCE = 5


@validate_arguments
def run_queries(
    eval_set: EvalSet,
    context: Context,
    config: RetrievalConfig | None = None,
    *,
    kinds: set[Kind] | None = None,
    filter: Filter | None = None,
    track: Track = iter,
) -> Run:
    """Return the ten best documents for each query. Hits are not grouped, because single chunks are judged.

    Args:
        eval_set: The queries.
        context: The index with its models, such as `rag.context`.
        config: The weights of the branches; a weight of 0 leaves a branch out.
        kinds: As for `FlorenceRAG.search`.
        filter: As for `FlorenceRAG.search`.
        track: Shows the progress over the queries.

    Raises:
        InputError: If the index has none of the right documents.
    """
    check_documents(eval_set, context.index)
    config = config or RetrievalConfig()
    by_words, by_pixels = Retriever(context, config), retriever_without_text(context, config)
    depth = _DEPTH * (_CHUNKS_PER_SOURCE if eval_set.level == "source" else 1)
    run = {}
    for query in track(eval_set.queries):
        retriever = by_pixels if query.is_stored_text else by_words
        found: dict[str, float] = {}
        for hit in retriever.search(query.text, k=depth, kinds=kinds, filter=filter, group=False):
            found.setdefault(eval_set.document(hit), round(hit.score, 9))  # as precise as their order
        run[query.id] = dict(list(found.items())[:_DEPTH])
    return run


def retriever_without_text(context: Context, config: RetrievalConfig | None = None) -> Retriever:
    """Return a retriever that reads no text of images: neither a branch nor a reranker does."""
    reranker = context.models.reranker
    kept = reranker if reranker and "image" in reranker.reads else None
    models = replace(context.models, text_embedder=None, reranker=kept)
    weights = replace(config or RetrievalConfig(), bm25_weight=0.0, text_dense_weight=0.0, phrase_weight=0.0)
    return Retriever(replace(context, models=models), weights)


def check_documents(eval_set: EvalSet, index: ChunkIndex) -> None:
    """Raise InputError if an index has none of the right documents of a test set; warn if it lacks some."""
    wanted = {document for query in eval_set.queries for document in query.relevant}
    if eval_set.level == "source":
        missing = wanted - index.sources().keys()
    else:
        missing = wanted - {hit.id for some in batched(sorted(wanted), 1000) for hit in index.get(some)}
    if missing == wanted:
        raise InputError(
            f"the index has none of the {len(wanted)} right {eval_set.level}s of the test set; build it from "
            "this index, or at the level of sources if both have the same files in different chunks"
        )
    if missing:
        log.warning(
            "the index lacks %d of %d right %ss, which count as not found", len(missing), len(wanted), eval_set.level
        )


def write_run(run: Run, file: str | Path) -> None:
    """Write a run as JSON."""
    Path(file).write_text(json.dumps(run))


def read_run(file: str | Path) -> Run:
    """Read a run; raise InputError if the file is not one."""
    run = read_json(file).fields
    if not isinstance(run, dict) or not all(isinstance(ranked, dict) for ranked in run.values()):
        raise InputError(f'{str(file)!r} is not a run, such as {{"query": {{"document": 0.5}}}}')
    if any(
        isinstance(score, bool) or not isinstance(score, int | float) for row in run.values() for score in row.values()
    ):
        raise InputError(f"{str(file)!r} has a score that is not a number")
    return {query: dict(sorted(ranked.items(), key=lambda pair: -pair[1])) for query, ranked in run.items()}


def score_ranking(ranked: Sequence[str], relevant: Mapping[str, float]) -> tuple[float, ...]:
    """Return the METRICS of one query, given its documents, best first, and the gains of the right ones."""
    gains = [relevant.get(document, 0.0) for document in ranked[:_DEPTH]]
    right = [gain > 0 for gain in gains]
    best = sorted(relevant.values(), reverse=True)[:_DEPTH]
    first = right.index(True) + 1 if any(right) else math.inf
    return right[:1].count(True) / len(relevant), sum(right) / len(relevant), 1 / first, _dcg(gains) / _dcg(best)


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def measure(eval_set: EvalSet, run: Run) -> dict[str, tuple[Metric, ...]]:
    """Return the metrics with their intervals over all queries, and over those of each field if there are several."""
    scores, groups = _scores(eval_set, run), _groups(eval_set)
    return {
        field: tuple(
            Metric(name, float(values.mean()), *mean_interval(values, [groups[row] for row in rows]))
            for name, values in zip(METRICS, scores[rows].T, strict=True)
        )
        for field, rows in _rows_by_field(eval_set).items()
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """The means of a metric in two runs, and how they differ.

    Attributes:
        field: The field of the queries, or "all".
        metric: The name of the metric.
        first: Its mean in the first run.
        second: Its mean in the second run.
        difference: The second less the first.
        low: The lower end of the 95 % interval of the difference.
        high: Its upper end.
        p_value: How often chance alone makes a difference as large, in (0, 1].
    """

    field: str
    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


def compare_runs(eval_set: EvalSet, first: Run, second: Run) -> tuple[Difference, ...]:
    """Compare two runs of the same queries, over all queries and over those of each field."""
    groups = _groups(eval_set)
    scores = [_scores(eval_set, run) for run in (first, second)]
    compared = []
    for field, rows in _rows_by_field(eval_set).items():
        for column, metric in enumerate(METRICS):
            one, other = (each[rows, column] for each in scores)
            group = [groups[row] for row in rows]
            interval = mean_interval(other - one, group)
            means = float(one.mean()), float(other.mean()), float((other - one).mean())
            compared.append(Difference(field, metric, *means, *interval, randomization_test(other - one, group)))
    return tuple(compared)


def _scores(eval_set: EvalSet, run: Run) -> np.ndarray:
    """Return the metrics of each query, (Q, M)."""
    if missing := [query.id for query in eval_set.queries if query.id not in run]:
        raise InputError(f"the run lacks the query {missing[0]!r:.80}, so it is one of another test set")
    return np.array([score_ranking(list(run[query.id]), query.relevant) for query in eval_set.queries])


def _groups(eval_set: EvalSet) -> list[str]:
    """Return the first right document of each query: queries of the same one depend on each other."""
    return [next(iter(query.relevant)) for query in eval_set.queries]


def _rows_by_field(eval_set: EvalSet) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {ALL: list(range(len(eval_set.queries)))}
    for row, query in enumerate(eval_set.queries):
        rows.setdefault(query.field or "other", []).append(row)
    return rows if len(rows) > 2 else {ALL: rows[ALL]}
