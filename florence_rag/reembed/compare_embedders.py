"""How far two embedders agree on what is near: the share of results that both find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.index.base import ReembeddableIndex
from florence_rag.retrieval.retriever import VISUAL_KINDS
from florence_rag.types import Hit, Kind

_SAMPLE = 32
_QUERY_WORDS = 12
# As a search ranks them: cosines between texts lie above those of text to picture.
_ROUTES: tuple[frozenset[Kind], ...] = (VISUAL_KINDS, frozenset({"text"}))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of two embedders on the same chunks. overlaps: for each query the share of results that both find, in [0, 1].

    k: how many pictures and how many passages are the results of a query.
    """

    k: int
    queries: tuple[str, ...]
    overlaps: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean overlap, in [0, 1]."""
        return float(np.mean(self.overlaps))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        queries = [{"query": query, "overlap": each} for query, each in zip(self.queries, self.overlaps, strict=True)]
        return {"k": self.k, "mean_overlap": self.mean, "queries": queries}


@dataclass(frozen=True, slots=True, eq=False)
class _Probe:
    """A query as both embedders see it. but: a chunk that is no result, as it is the query."""

    name: str
    before: np.ndarray
    after: np.ndarray
    but: str = ""


def compare_embedders(
    index: ReembeddableIndex,
    successor: ReembeddableIndex,
    new: Embedder,
    old: Embedder | None = None,
    queries: Sequence[str] | None = None,
    *,
    k: int = 10,
) -> Comparison:
    """Compare what is nearest in both, before words and rerankers have their say.

    old: the embedder of the index; without it the neighbours of stored chunks are compared, which needs none.
    queries: by default captions, texts and names sampled from the index, the same in every run.
    """
    sample = _sample(index, successor)
    if not sample:
        raise InputError(f"no file has vectors of {new.info.name} yet; fill first, then compare")
    if old is not None:
        probes = _asked(list(queries) if queries else list(dict.fromkeys(map(_as_query, sample))), old, new, index)
    elif queries is None:
        probes = _near(sample, index, successor)
    else:
        raise InputError("queries can be compared only with the embedder of the index; give it, or no queries")
    overlaps = tuple(_overlap(probe, index, successor, k) for probe in probes)
    return Comparison(k, tuple(probe.name for probe in probes), overlaps)


def _asked(texts: list[str], old: Embedder, new: Embedder, index: ReembeddableIndex) -> list[_Probe]:
    if old.info != index.embedder:
        raise InputError(f"the index has the vectors of {index.embedder.name}, not of {old.info.name}")
    return [_Probe(*each) for each in zip(texts, old.embed_texts(texts), new.embed_texts(texts), strict=True)]


def _near(sample: list[Hit], index: ReembeddableIndex, successor: ReembeddableIndex) -> list[_Probe]:
    ids = [hit.id for hit in sample]
    vectors = zip(sample, index.vectors(ids), successor.vectors(ids), strict=True)
    return [_Probe(f"near {_as_query(hit)}", before, after, hit.id) for hit, before, after in vectors]


def _overlap(probe: _Probe, index: ReembeddableIndex, successor: ReembeddableIndex, k: int) -> float:
    before = _nearest(index, probe.before, k, probe.but)
    after = _nearest(successor, probe.after, k, probe.but)
    return len(before & after) / max(1, len(before), len(after))


def _nearest(index: ReembeddableIndex, vector: np.ndarray, k: int, but: str) -> set[str]:
    found = ([hit.id for hit in index.search_vector(vector, k + 1, kinds=kinds)] for kinds in _ROUTES)
    return {id for ids in found for id in [each for each in ids if each != but][:k]}


def _sample(index: ReembeddableIndex, successor: ReembeddableIndex) -> list[Hit]:
    """One chunk of each of some files that both have, the same in every run."""
    both = sorted(index.sources().keys() & successor.sources().keys(), key=_shuffled)[:_SAMPLE]
    first: dict[str, Hit] = {}
    for hit in sorted(index.chunks_of(both), key=lambda hit: hit.id):
        first.setdefault(hit.source, hit)
    return [first[uri] for uri in both if uri in first]


def _shuffled(uri: str) -> bytes:
    return blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _as_query(hit: Hit) -> str:
    """What a person might ask to find it: its caption, its text, what was read in it, or the name of its file."""
    said = next((part for part in (hit.caption, hit.text, hit.ocr) if part.strip()), Path(hit.source).stem)
    return " ".join(said.replace("_", " ").replace("-", " ").split()[:_QUERY_WORDS]) or hit.kind
