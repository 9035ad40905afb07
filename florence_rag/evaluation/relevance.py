"""Measures whether relevance means what it says in your own index, and fits it to that index.

The queries of a test set have known right hits, and off-topic queries have none. Each query is searched as by
`run_queries`, but with a threshold. A logistic regression over the first hits of each kind then relates cosines to what
is right. Hits that the test set does not name count as wrong.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path

import numpy as np

from florence_rag.context import Context
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import mean_interval
from florence_rag.evaluation.eval_set import EvalQuery, EvalSet
from florence_rag.evaluation.image_reading import Track
from florence_rag.evaluation.ranking import check_documents, retriever_without_text
from florence_rag.evaluation.report import EvaluationReport, Metric, calibration_error, reliability_bins
from florence_rag.index.base import HasCalibrations
from florence_rag.retrieval.background import BackgroundSample
from florence_rag.retrieval.query import to_query
from florence_rag.retrieval.query_vector import embed_query
from florence_rag.retrieval.relevance import WEIGHTS, Calibration, unknown_share
from florence_rag.retrieval.retriever import Retriever
from florence_rag.text_arguments import check_query_text
from florence_rag.types import KINDS, Kind

FALSE_ALARMS = 0.05
"""The share of off-topic queries that may find something."""
LEAST_QUERIES, LEAST_OFF_TOPIC = 60, 40
_LEAST_RIGHT = 10
_TOP, _FITTED = 5, 3  # hits of a query that are measured; hits of a kind that are fitted
_PENALTY, _MIN_DEVIATION, _STEPS = 1.0, 1e-6, 50


def read_off_topic(file: Path) -> list[EvalQuery]:
    """Read queries whose subject the index does not have, one per line."""
    try:
        lines = dict.fromkeys(line.strip() for line in file.read_text("utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the off-topic queries {str(file)!r:.300} cannot be read: {error}") from error
    return [EvalQuery(f"off-topic {number}", check_query_text(text), {}) for number, text in enumerate(lines) if text]


def measure_relevance(
    eval_set: EvalSet, off_topic: Sequence[EvalQuery], context: Context, track: Track = iter
) -> EvaluationReport:
    """Return how many right hits a threshold keeps that 5 % of the off-topic queries reach, and the calibration error.

    Raises:
        InputError: If there are too few queries, or the index has none of the right documents.
    """
    _check(eval_set, off_topic, context)
    return _measure(eval_set, [*eval_set.queries, *off_topic], context, track)


def calibrate_relevance(
    eval_set: EvalSet, off_topic: Sequence[EvalQuery], context: Context, track: Track = iter
) -> EvaluationReport:
    """Fit the relevance of an index to half of the queries, store the fit in it, and measure it on the other half.

    Raises:
        InputError: As `measure_relevance`, or if too few right hits are found.
    """
    _check(eval_set, off_topic, context)
    index = context.index
    if not isinstance(index, HasCalibrations):
        raise InputError("this index stores no calibration of relevance; use one in Milvus")
    fitted, held_out = zip(*map(_halves, (eval_set.queries, off_topic)), strict=True)
    measured = [query for some in held_out for query in some]
    before = _measure(eval_set, measured, context, track)
    calibrations = fit_calibrations(eval_set, [query for some in fitted for query in some], context)
    index.put_calibrations({kind: asdict(each) for kind, each in calibrations.items()})
    after = _measure(eval_set, measured, context, track)
    metrics = (*after.metrics, *(Metric(f"before: {m.name}", m.value, m.low, m.high) for m in before.metrics))
    notes = [f"Fitted to one half of the queries for {', '.join(calibrations)}, and measured on the other."]
    if missing := [kind for kind in KINDS if kind not in calibrations and next(index.find(kinds={kind}), None)]:
        notes.append(f"Not fitted, for want of {_LEAST_RIGHT} right hits that are more similar: {', '.join(missing)}.")
    if not Retriever(context).is_calibrated:
        notes.append(
            "Only searches of kinds that are fitted rank by relevance (florence-rag search QUERY --kind KIND); the "
            "others rank as before."
        )
    notes.append("Stored in the database; florence-rag eval relevance --reset deletes it.")
    return EvaluationReport("relevance", after.model, after.counts, metrics, (), tuple(notes), after.reliability)


def fit_calibrations(eval_set: EvalSet, queries: Sequence[EvalQuery], context: Context) -> dict[Kind, Calibration]:
    """Fit a calibration for each kind of which enough first hits are right; raise InputError if there is none."""
    fits = {kind: _fit(eval_set, queries, kind, context) for kind in KINDS}
    found = {kind: fit for kind, fit in fits.items() if fit}
    if not found:
        raise InputError(
            f"no kind of chunk has {_LEAST_RIGHT} right ones, more similar than the others, among the first {_FITTED} "
            "hits of each query, which a calibration needs: add queries to the test set, or use another embedder"
        )
    return found


def _check(eval_set: EvalSet, off_topic: Sequence[EvalQuery], context: Context) -> None:
    for what, count, least in (
        ("queries of the test set", len(eval_set.queries), LEAST_QUERIES),
        ("off-topic queries", len(off_topic), LEAST_OFF_TOPIC),
    ):
        if count < least:
            raise InputError(f"{count} {what} are too few to judge relevance by; give at least {least}")
    check_documents(eval_set, context.index)


def _halves(queries: Sequence[EvalQuery]) -> tuple[list[EvalQuery], list[EvalQuery]]:
    ordered = sorted(queries, key=lambda query: blake2b(query.text.encode()).digest())
    return ordered[::2], ordered[1::2]


def _measure(eval_set: EvalSet, queries: Sequence[EvalQuery], context: Context, track: Track) -> EvaluationReport:
    values, right = np.zeros((len(queries), _TOP)), np.zeros((len(queries), _TOP), bool)
    by_words, by_pixels = Retriever(context), retriever_without_text(context)
    for row, query in enumerate(track(queries)):
        retriever = by_pixels if query.is_stored_text else by_words
        hits = retriever.search(query.text, k=_TOP, group=False, min_relevance=0.0)
        values[row, : len(hits)] = [hit.relevance or 0.0 for hit in hits]
        right[row, : len(hits)] = [eval_set.document(hit) in query.relevant for hit in hits]
    present = np.array([bool(query.relevant) for query in queries])
    threshold = float(np.quantile(values[~present].max(axis=1), 1 - FALSE_ALARMS))
    best_right = np.where(right, values, 0.0).max(axis=1)
    found = np.any(right, axis=1)
    kept = best_right[found] > threshold
    bins = reliability_bins(zip(values.ravel().tolist(), right.ravel().tolist(), strict=True))
    metrics = (
        Metric("right hit among the first five", float(found[present].mean())),
        Metric("kept of these at 5 % false alarms", *_mean(kept)),
        Metric("threshold for 5 % false alarms", threshold),
        Metric("calibration error of the first five", calibration_error(bins)),
    )
    counts = {"queries": int(present.sum()), "off-topic queries": int((~present).sum())}
    return EvaluationReport("relevance", context.models.embedder.info.name, counts, metrics, reliability=bins)


def _mean(kept: np.ndarray) -> tuple[float, float | None, float | None]:
    return (float(kept.mean()), *mean_interval(kept.astype(float))) if len(kept) else (0.0, None, None)


def _fit(eval_set: EvalSet, queries: Sequence[EvalQuery], kind: Kind, context: Context) -> Calibration | None:
    """Return the calibration of a kind around the typical background of these queries.

    None with few right hits, or if the right ones are no more similar than the others, because a calibration that ranks
    dissimilar hits first has learned noise.
    """
    index, embedder, sample = context.index, context.models.embedder.info, BackgroundSample(context)
    vectors = [embed_query(context, to_query(query.text)) for query in queries]
    found = [index.search_vector(vector.unit, _FITTED, kinds={kind}) for vector in vectors]
    background = sample.of(kind, max(map(len, found)))
    cosines = np.array([background.sample @ vector.positive for vector in vectors])
    pairs = [(query, hit) for query, hits in zip(queries, found, strict=True) for hit in hits]
    right = np.array([eval_set.document(hit) in query.relevant for query, hit in pairs], float)
    if min(right.sum(), len(right) - right.sum()) < _LEAST_RIGHT:
        return None
    typical = Calibration(typical_mean=float(cosines.mean()), typical_deviation=float(cosines.std(axis=1).mean()))
    features = [
        typical.features(np.array([h.score for h in hits]), vector, background, unknown_share(vector.texts, embedder))
        for hits, vector in zip(found, vectors, strict=True)
    ]
    weights, offset = fit_logistic(np.concatenate(features), right)
    fitted = replace(typical, **dict(zip(WEIGHTS, weights.tolist(), strict=True)), offset=offset)
    return fitted if fitted.similarity > 0 else None


def fit_logistic(features: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the weights and the offset of a logistic regression over features (N, F), scaled to unit variance.

    A penalty on the weights keeps a fit of few examples near the share of right ones.
    """
    center, scale = features.mean(axis=0), features.std(axis=0) + _MIN_DEVIATION
    rows = np.column_stack([(features - center) / scale, np.ones(len(features))])
    penalty = np.diag([_PENALTY] * features.shape[1] + [_MIN_DEVIATION])
    fitted = np.zeros(rows.shape[1])
    for _ in range(_STEPS):  # Newton's method
        expected = 1 / (1 + np.exp(-rows @ fitted))
        gradient = rows.T @ (expected - right) + penalty @ fitted
        step = np.linalg.solve((rows.T * (expected * (1 - expected))) @ rows + penalty, gradient)
        fitted = fitted - step / max(1.0, float(np.linalg.norm(step)))
    weights = fitted[:-1] / scale
    return weights, float(fitted[-1] - weights @ center)
