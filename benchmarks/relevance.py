"""Ranking, calibration and false alarms of relevance, on held-out collections of images, pages, clips and texts.

    python benchmarks/relevance.py [--corpora 1] [--json FILE]
    python benchmarks/relevance.py --fit

`--fit` prints calibrations from collections of training scenes (`relevance_collection.py`). The benchmark measures them
on other scenes, towns and topics, with combinations of color and object that the embedder was trained on, and with all.
"With a threshold" is relevance of a search with `min_relevance`, for which a matcher judges the images of the first
hits. "Default relevance" treats florence-tiny as an embedder without a calibration.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from benchmarks.relevance_collection import Collection, Combinations, Query
from florence_rag import FlorenceRAG
from florence_rag.cli.logging_setup import quiet_libraries
from florence_rag.embedding.everyday_texts import embed_everyday_texts
from florence_rag.evaluation.report import calibration_error, reliability_bins
from florence_rag.models.registry import TINY
from florence_rag.retrieval.evidence import QueryTerms
from florence_rag.retrieval.question_subject import subject_of
from florence_rag.retrieval.relevance import (
    DEFAULT_MIN_RELEVANCE,
    PRIOR_ROWS,
    Calibration,
    calibration_of,
    unknown_share,
    weigh_terms,
)
from florence_rag.retrieval.retriever import VISUAL_KINDS, Retriever
from florence_rag.types import KINDS, Hit, Kind

FALSE_ALARMS = 0.05
DEPTH, TOP, FITTED = 20, 5, 3
SIZES = (1, 3, 10, 30, 100, 150)
"""The numbers of chunks of the parts of a collection to which cosines are fitted."""


class DefaultRetriever(Retriever):
    """A retriever that knows no calibration of the embedder, and no threshold, so that it fuses by rank."""

    calibrations: Mapping[Kind, Calibration] = {}
    min_relevance = DEFAULT_MIN_RELEVANCE


class PartlyFittedRetriever(Retriever):
    """A retriever with a calibration of images alone, as a small test set fits it."""

    @property
    def calibrations(self) -> Mapping[Kind, Calibration]:
        return {"image": super().calibrations["image"]}


Search = Callable[[str], list[Hit]]


def plain_rrf(rag: FlorenceRAG, text: str) -> list[Hit]:
    """Fuse the nearest vectors of all kinds with BM25 by reciprocal rank fusion, with its usual constant 60."""
    lists = [rag.index.search_vector(rag.retriever.embed_query(text), DEPTH), rag.index.search_bm25(text, DEPTH)]
    hits = {hit.id: hit for found in lists for hit in found}
    scores = dict.fromkeys(hits, 0.0)
    for found in lists:
        for rank, hit in enumerate(found, start=1):
            scores[hit.id] += 1 / (60 + rank)
    return sorted((replace(hit, score=scores[id]) for id, hit in hits.items()), key=lambda hit: -hit.score)


def concatenation(rag: FlorenceRAG, text: str) -> list[Hit]:
    """Return the nearest texts, then the nearest images, as LlamaIndex's MultiModalVectorIndexRetriever does."""
    vector = rag.retriever.embed_query(text)
    texts = rag.index.search_vector(vector, TOP, kinds={"text"})
    return [*texts, *rag.index.search_vector(vector, DEPTH, kinds=VISUAL_KINDS)]


def measure(
    queries: Sequence[Query], search: Search, measured: Callable[[Hit], float], usual: float = math.nan
) -> dict[str, float]:
    """Return the metrics of one way to search, whose hits are judged by what `measured` returns.

    `usual` is the threshold that answers and tools use by default, if there is one.
    """
    started = process_time()
    found = [search(query.text) for query in queries]
    cost_ms = 1000 * (process_time() - started) / len(queries)
    right = np.zeros((len(queries), DEPTH), bool)
    values = np.full((len(queries), DEPTH), -np.inf)
    for row, (query, hits) in enumerate(zip(queries, found, strict=True)):
        right[row, : len(hits)] = [query.is_answered_by(hit) for hit in hits[:DEPTH]]
        values[row, : len(hits)] = [measured(hit) for hit in hits[:DEPTH]]
    present = np.array([bool(query.places) for query in queries])
    best = values[:, :TOP].max(axis=1)
    threshold = float(np.quantile(best[~present], 1 - FALSE_ALARMS))
    top = right[:, :TOP]
    best_right = np.where(top, values[:, :TOP], -np.inf).max(axis=1)
    kept: np.ndarray = best_right > threshold
    found_right: np.ndarray = top.any(axis=1)
    discount = 1 / np.log2(np.arange(10) + 2)
    ideal = np.array([discount[: len(query.places)].sum() for query in queries])
    metrics = {
        "R@1": right[present, 0].mean(),
        "nDCG@10": ((right[:, :10] * discount).sum(axis=1)[present] / ideal[present]).mean(),
        "right hit kept at 5 % false alarms": kept[found_right].mean(),
        "threshold": threshold,
        "default threshold": usual,
        "right hit kept at the default": (best_right[found_right] >= usual).mean(),
        "false alarms at the default": (best[~present] >= usual).mean(),
        "ECE of first hits": error_of(values[:, 0], right[:, 0]),
        "ECE of five hits": error_of(values[:, :TOP].ravel(), top.ravel()),
        "processor ms per query": cost_ms,
    }
    groups = np.array([query.group for query in queries])
    for group in dict.fromkeys(groups):
        of_group = groups == group
        if present[of_group].any():
            of_found = kept[of_group & found_right]
            metrics[f"kept, {group}"] = of_found.mean() if len(of_found) else float("nan")
        else:
            metrics[f"false alarms, {group}"] = (best[of_group] > threshold).mean()
    if math.isnan(usual):
        metrics |= {name: math.nan for name in metrics if name.endswith("the default")}
    return {name: float(value) for name, value in metrics.items()}


def error_of(values: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error; NaN if the values are no probabilities."""
    pairs = [pair for pair in zip(values.tolist(), right.tolist(), strict=True) if math.isfinite(pair[0])]
    are_probabilities = all(0 <= value <= 1 for value, _ in pairs)
    return calibration_error(reliability_bins(pairs)) if are_probabilities else math.nan


def compare(folder: Path, seed: str, combinations: Combinations) -> dict[str, dict[str, float]]:
    """Measure all ways to search one held-out collection."""
    with indexed(folder, seed, combinations) as (rag, collection):
        queries = collection.queries("held-out")
        default, usual = DefaultRetriever(rag.context), rag.retriever.min_relevance
        plain = searching(rag.retriever)
        by_rank = {query.text: searching(default)(query.text) for query in queries}
        return {
            "relevance": measure(queries, plain, _relevance, usual),
            "with a threshold": measure(queries, partial(plain, min_relevance=0.0), _relevance, usual),
            "default relevance": measure(queries, by_rank.__getitem__, _relevance, default.min_relevance),
            "images fitted": measure(queries, searching(PartlyFittedRetriever(rag.context)), _relevance),
            "fusion by rank": measure(queries, by_rank.__getitem__, _score),
            "plain RRF": measure(queries, lambda text: plain_rrf(rag, text), _score),
            "texts, then images": measure(queries, lambda text: concatenation(rag, text), _score),
        }


def searching(retriever: Retriever) -> partial[list[Hit]]:
    """Return a search for as many hits as are measured."""
    return partial(retriever.search, k=DEPTH, group=False)


def _relevance(hit: Hit) -> float:
    return hit.relevance or 0.0


def _score(hit: Hit) -> float:
    return hit.score


@contextmanager
def indexed(folder: Path, seed: str, combinations: Combinations) -> Iterator[tuple[FlorenceRAG, Collection]]:
    """Write and index a collection."""
    files = folder / seed
    files.mkdir()
    collection = Collection(files, seed, combinations)
    with FlorenceRAG.open(folder / f"{seed}.db", TINY, ocr="never", captioner="never") as rag:
        report = rag.add(files)
        assert not report.failed, report.failed
        yield rag, collection


def fit(folder: Path, count: int) -> dict[str, list[float]]:
    """Return the weights and the offset of logistic regressions over training scenes, for cosines and for terms.

    Cosines are fitted on the first three hits of each query, from among which a user chooses.
    """
    rows: dict[str, list[tuple[list[float], bool]]] = {"image": [], "clip": [], "terms": []}
    for number in range(count):
        with indexed(folder, f"training {number}", "seen") as (rag, collection):
            chunks = {kind: list(rag.index.find(kinds={kind})) for kind in KINDS}
            vectors = {kind: rag.index.vectors([hit.id for hit in chunks[kind]]) for kind in KINDS}
            for query in collection.queries("training"):
                for kind in ("image", "clip"):
                    rows[kind] += cosine_rows(rag, query, chunks[kind], vectors[kind])
                rows["terms"] += term_rows(rag, query)
    fitted = {}
    for name, examples in rows.items():
        features = np.array([feature for feature, _ in examples])
        scaler = StandardScaler().fit(features)
        model = LogisticRegression(C=100).fit(scaler.transform(features), [right for _, right in examples])
        weights = model.coef_[0] / scaler.scale_
        fitted[name] = [*weights.round(2).tolist(), round(float(model.intercept_[0] - weights @ scaler.mean_), 2)]
    return fitted


def cosine_rows(
    rag: FlorenceRAG, query: Query, hits: Sequence[Hit], vectors: np.ndarray
) -> list[tuple[list[float], bool]]:
    """Return the features of `Calibration` for the first hits in random parts of a collection, and which are right."""
    vector, typical = rag.retriever.embed_query(query.text), calibration_of(rag.models.embedder.info)[hits[0].kind]
    generic = float((embed_everyday_texts(rag.models.embedder) @ vector).mean())
    unknown = unknown_share([subject_of(query.text)], rag.models.embedder.info)
    rows, rng = [], np.random.default_rng(len(query.text))
    for size in (size for size in SIZES if size <= len(hits)):
        chosen = rng.permutation(len(hits))[:size]
        cosines = vectors[chosen] @ vector
        share = size / (size + PRIOR_ROWS)
        mean = share * (cosines.mean() - typical.typical_mean)
        deviation = share * (cosines.std() - typical.typical_deviation)
        for place in np.argsort(-cosines)[:FITTED]:
            features = [float(cosines[place]), float(mean), float(deviation), float(np.log(size)), generic, unknown]
            rows.append((features, query.is_answered_by(hits[chosen[place]])))
    return rows


def term_rows(rag: FlorenceRAG, query: Query) -> list[tuple[list[float], bool]]:
    """Return the evidence of the terms in each hit of BM25 that has some of them, and whether the hit is right."""
    terms = QueryTerms(query.text)
    hits = [(hit, match) for hit in rag.index.search_bm25(query.text, 50) if (match := terms.match(hit.content))]
    evidence = weigh_terms(len(terms), [match for _, match in hits])
    return [
        ([each.share, each.rarity], query.is_answered_by(hit))
        for (hit, _), each in zip(hits, evidence, strict=True)
        if each.share > 0.15
    ]


def table(metrics: dict[str, dict[str, float]], title: str) -> Table:
    """Return a table with a column for each way to search."""
    table = Table("", *metrics, title=title)
    for name in next(iter(metrics.values())):
        table.add_row(name, *(f"{row[name]:.3f}" for row in metrics.values()))
    return table


def main(
    corpora: Annotated[int, typer.Option(help="The number of collections of each sort.")] = 1,
    fitting: Annotated[bool, typer.Option("--fit", help="Fit the calibrations instead, on training scenes.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the metrics here.")] = None,
) -> None:
    """Measure, and print tables."""
    quiet_libraries()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if fitting:
            Console().print(fit(folder, max(2, corpora)))
            return
        metrics = {}
        sorts: dict[str, Combinations] = {"trained combinations": "seen", "all combinations": "any"}
        for title, combinations in sorts.items():
            for number in range(corpora):
                name = f"{title} {number}"
                metrics[name] = compare(folder, name, combinations)
                Console().print(table(metrics[name], name))
    if json_file is not None:
        json_file.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
