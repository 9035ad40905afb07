"""Measures how far two embedders agree on what is near: the share of results that both find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.index.base import ReembeddableIndex
from florence_rag.retrieval.retriever import VISUAL_KINDS
from florence_rag.types import Hit, Kind

_SAMPLE = 32
_QUERY_WORDS = 12
# A search ranks both kinds of results apart, because cosines between texts exceed those between text and image.
_BRANCHES: tuple[frozenset[Kind], ...] = (VISUAL_KINDS, frozenset({"text"}))


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the results of two embedders agree.

    Attributes:
        k: The number of images, and of passages, that count as results of a query.
        queries: The queries.
        overlaps: For each query the share of results that both embedders find, in [0, 1].
    """

    k: int
    queries: tuple[str, ...]
    overlaps: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean overlap, in [0, 1]."""
        return float(np.mean(self.overlaps))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can hold."""
        queries = [{"query": query, "overlap": each} for query, each in zip(self.queries, self.overlaps, strict=True)]
        return {"k": self.k, "mean_overlap": self.mean, "queries": queries}


class _Query(NamedTuple):
    """A query with its vectors (D,) of both embedders, and the id of a chunk that is the query and thus no result."""

    name: str
    old: np.ndarray
    new: np.ndarray
    chunk_id: str = ""


def compare_embedders(
    index: ReembeddableIndex,
    shadow: ReembeddableIndex,
    new: Embedder,
    old: Embedder | None = None,
    queries: Sequence[str] | None = None,
    *,
    k: int = 10,
) -> Comparison:
    """Compare the chunks whose vectors in both indexes are nearest to queries, without BM25 and rerankers.

    By default, the queries are captions, passages and file names of a sample that is the same in every run. Without the
    old embedder, stored chunks are the queries, because they need none.
    """
    sample = _sample(index, shadow)
    if not sample:
        raise InputError(f"no file has vectors of {new.info.name} yet; fill first, then compare")
    if old is not None:
        if old.info != index.embedder:
            raise InputError(f"the index has the vectors of {index.embedder.name}, not of {old.info.name}")
        texts = list(queries) if queries else list(dict.fromkeys(map(_to_query, sample)))
        compared = list(map(_Query, texts, old.embed_texts(texts), new.embed_texts(texts)))
    elif queries is None:
        ids = [hit.id for hit in sample]
        names = [f"near {_to_query(hit)}" for hit in sample]
        compared = list(map(_Query, names, index.vectors(ids), shadow.vectors(ids), ids))
    else:
        raise InputError("queries can be compared only with the embedder of the index; give it, or no queries")
    overlaps = tuple(_overlap(query, index, shadow, k) for query in compared)
    return Comparison(k, tuple(query.name for query in compared), overlaps)


def _overlap(query: _Query, index: ReembeddableIndex, shadow: ReembeddableIndex, k: int) -> float:
    before = _nearest(index, query.old, k, query.chunk_id)
    after = _nearest(shadow, query.new, k, query.chunk_id)
    return len(before & after) / max(1, len(before), len(after))


def _nearest(index: ReembeddableIndex, vector: np.ndarray, k: int, excluded: str) -> set[str]:
    found = ([hit.id for hit in index.search_vector(vector, k + 1, kinds=kinds)] for kinds in _BRANCHES)
    return {id for ids in found for id in [each for each in ids if each != excluded][:k]}


def _sample(index: ReembeddableIndex, shadow: ReembeddableIndex) -> list[Hit]:
    """Return one chunk of each of some sources that both indexes have, the same in every run."""

    def digest(uri: str) -> bytes:
        return blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=8).digest()

    shared = sorted(index.sources().keys() & shadow.sources().keys(), key=digest)[:_SAMPLE]
    first: dict[str, Hit] = {}
    for hit in sorted(index.chunks_of(shared), key=lambda hit: hit.id):
        first.setdefault(hit.source, hit)
    return [first[uri] for uri in shared if uri in first]


def _to_query(hit: Hit) -> str:
    """Return a text that should find the hit: the beginning of its caption, text, OCR text or file name."""
    text = next((part for part in (hit.caption, hit.text, hit.ocr) if part.strip()), Path(hit.source).stem)
    return " ".join(text.replace("_", " ").replace("-", " ").split()[:_QUERY_WORDS]) or hit.kind
