"""Retrieval in both directions, on captioned pictures in Karpathy's format (Flickr30k and COCO are split in it).

R@K: the share of captions whose picture is among the K nearest of all pictures; and of pictures of which any caption is
among the K nearest of all captions. The median rank is that of the first right one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.evaluation.annotations import field, read_json, records
from florence_rag.evaluation.bootstrap import interval, median_interval
from florence_rag.evaluation.image_dataset import Watch, embedded
from florence_rag.evaluation.report import EvaluationReport, Figure
from florence_rag.types import Failure

CAPTIONS = 5
RANKS = (1, 5, 10)
_ROWS = 1000


class Captioned(NamedTuple):
    """One picture file and what people say of it."""

    path: Path
    captions: tuple[str, ...]


def read_karpathy(
    file: str | Path, images: str | Path | None = None, *, split: str = "test", captions: int = CAPTIONS
) -> list[Captioned]:
    """The pictures of one split, each with its first captions, as the published protocols take them.

    file: {"images": [{"filename", "split", "sentences": [{"raw"}], "filepath" if it lies in a folder}]}.
    images: the folder of the pictures, by default that of the file. InputError names the field that is wrong.
    """
    top = Path(file).expanduser().parent if images is None else Path(images).expanduser()
    everything = records(read_json(file), "images", file)
    chosen = [(record, where) for record, where in everything if field(record, "split", str, where) == split]
    if not chosen:
        there = sorted({record["split"] for record, _ in everything})
        raise InputError(f"{str(file)!r} has no split {split!r}; it has {', '.join(there)}")
    return [_captioned(record, where, top, captions) for record, where in chosen]


def _captioned(record: dict[str, object], where: str, top: Path, captions: int) -> Captioned:
    sentences = field(record, "sentences", list, where)
    texts = tuple(field(sentence, "raw", str, f"a sentence of {where}") for sentence in sentences[:captions])
    if not all(text.strip() for text in texts) or not texts:
        raise InputError(f"the field 'sentences' of {where} has no caption, or an empty one")
    folder = field(record, "filepath", str, where) if "filepath" in record else ""
    return Captioned(top / folder / field(record, "filename", str, where), texts)


def places(
    queries: np.ndarray, gallery: np.ndarray, wanted: Sequence[int] | np.ndarray, given: Sequence[int] | np.ndarray
) -> np.ndarray:
    """(Q, 3) int: how many wrong items are nearer to a query than the nearest right one; and, of those as near as it,
    how many are right and how many wrong.

    queries (Q, D), gallery (G, D): unit vectors. wanted (Q,), given (G,): the picture that each belongs to; each query
    has a right item.
    """
    own, belongs = np.asarray(wanted), np.asarray(given)
    rows = range(0, len(queries), _ROWS)
    parts = [_places(queries[i : i + _ROWS] @ gallery.T, own[i : i + _ROWS, None] == belongs) for i in rows]
    return np.concatenate(parts)


def _places(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    nearer, level = (scores > best).sum(axis=1), scores == best
    return np.stack([nearer, (level & right).sum(axis=1), (level & ~right).sum(axis=1)], axis=1)


def hits(places: np.ndarray, ranks: Sequence[int] = RANKS) -> np.ndarray:
    """(Q, ranks) float64: whether a right item is among the k nearest to a query.

    Where items are equally near, it is the chance that a right one is drawn: a model that says the same of everything
    gets what guessing gets.
    """
    return np.array([[chance(k - before, true, false) for k in ranks] for before, true, false in places.tolist()])


def first_ranks(places: np.ndarray) -> np.ndarray:
    """(Q,) float64, from 1: where the first right item stands, on average where items are equally near."""
    before, right, wrong = places.T
    return np.asarray(before + (right + wrong + 1) / (right + 1))


def chance(places: int, right: int, wrong: int) -> float:
    """That at least one of the right items is among so many places, drawn from right and wrong ones."""
    if places <= 0:
        return 0.0
    drawn = min(places, right + wrong)
    return 1 - math.comb(wrong, drawn) / math.comb(right + wrong, drawn)


def evaluate_retrieval(pictures: Sequence[Captioned], embedder: Embedder, watch: Watch = iter) -> EvaluationReport:
    """R@1, R@5, R@10 and the median rank both ways; intervals over pictures, with all their captions."""
    failed: list[Failure] = []
    kept, images = embedded(watch(pictures), lambda picture: picture.path, embedder, failed)
    captions = [picture.captions for picture in kept]
    counts = {"pictures": len(kept), "captions": sum(map(len, captions))}
    return EvaluationReport(
        "retrieval", embedder.info.name, counts, both_ways("image", images, captions, embedder), tuple(failed)
    )


def both_ways(
    shown: str, vectors: np.ndarray, captions: Sequence[Sequence[str]], embedder: Embedder
) -> tuple[Figure, ...]:
    """The figures of things with these vectors, (N, D), and captions, any number for each. shown: what they are."""
    texts = embedder.embed_texts([caption for each in captions for caption in each])
    of_text, own = np.repeat(np.arange(len(captions)), [len(each) for each in captions]), np.arange(len(captions))
    return (
        *_figures(f"{shown} to text", places(vectors, texts, own, of_text), own),
        *_figures(f"text to {shown}", places(texts, vectors, of_text, own), of_text),
    )


def _figures(direction: str, found: np.ndarray, unit: np.ndarray) -> Iterator[Figure]:
    together, ranks = unit.tolist(), first_ranks(found)
    for rank, column in zip(RANKS, hits(found).T, strict=True):
        yield Figure(f"{direction} R@{rank}", float(column.mean()), *interval(column, together))
    bounds = median_interval(ranks, together)
    yield Figure(f"{direction} median rank", float(np.median(ranks)), *bounds, unit="rank")
