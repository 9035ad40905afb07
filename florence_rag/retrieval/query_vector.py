"""The vector of a query: the weighted mean of its positive parts, moved away from its negative ones (Rocchio, 1971).

A difference of vectors ranks as the difference of their cosines does. Multiplying by `1 - P(negative part)` was worse:
see benchmarks/query.py. Where a model hardly knows a word, no probability is above zero, but cosines still differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from florence_rag.chunking import read_image
from florence_rag.context import Context
from florence_rag.embedding.base import TextEmbedder, embed_image_queries, embed_queries, unit_rows
from florence_rag.embedding.region_view import check_box, region_view
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.retrieval.query import Query, QueryPart
from florence_rag.retrieval.question_subject import subject_of
from florence_rag.types import Frame, middle_frame

NEGATIVE_WEIGHT = 0.5
"""The weight of a negative part against a positive one of the same weight. More pushes hits away from both."""
_MIN_LENGTH = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class QueryVector:
    """The vector of a query.

    Attributes:
        positive: The mean (D,) of the positive parts.
        negative: What is subtracted from it (D,), which is zero without negative parts.
        image_share: The share of images in the positive weights, in [0, 1].
        texts: The positive texts, as they were embedded.
    """

    positive: np.ndarray
    negative: np.ndarray
    image_share: float = 0.0
    texts: tuple[str, ...] = ()

    @property
    def difference(self) -> np.ndarray:
        """(D,), of any length."""
        difference: np.ndarray = self.positive - self.negative
        return difference

    @property
    def unit(self) -> np.ndarray:
        """(D,), of unit length."""
        unit: np.ndarray = unit_rows(self.difference[None])[0]
        return unit


def combine_vectors(vectors: np.ndarray, weights: Sequence[float]) -> QueryVector:
    """Return the vector of parts with these vectors (N, D) and weights, of which one is positive.

    Raises:
        InputError: If the negative parts leave nothing of the positive ones.
    """
    signed = np.asarray(weights, dtype=np.float64)
    above, below = np.maximum(signed, 0.0), np.maximum(-signed, 0.0)
    positive = (above / above.sum()) @ vectors
    # A negative part is compared with the heaviest positive one, so that it counts equally beside several. The length
    # of a sum of unrelated vectors grows with the square root of their number.
    scale = NEGATIVE_WEIGHT / (above.max() * math.sqrt(max((below > 0).sum(), 1)))
    negative = (scale * below) @ vectors
    combined = QueryVector(positive, negative)
    if np.linalg.norm(combined.difference) < _MIN_LENGTH:
        raise InputError("the negative parts of the query cancel its positive ones: remove a part, or change a weight")
    return combined


def embed_query(context: Context, query: Query) -> QueryVector:
    """Return the vector of a query in the space of the embedder."""
    parts = [*query.positive, *query.negative]
    rows = np.empty((len(parts), context.models.embedder.info.dimension), dtype=np.float32)
    if subjects := {i: subject_of(part.text) for i, part in enumerate(parts) if part.text}:
        rows[list(subjects)] = embed_queries(context.models.embedder, list(subjects.values()))
    if images := [i for i, part in enumerate(parts) if part.image is not None or part.box]:
        rows[images] = embed_image_queries(context.models.embedder, [_view(context, parts[i]) for i in images])
    if stored := [(i, part.id) for i, part in enumerate(parts) if part.id and not part.box]:
        rows[[i for i, _ in stored]] = context.index.vectors([id for _, id in stored])
    vector = combine_vectors(rows, [part.weight for part in parts])
    texts = tuple(text for i, text in subjects.items() if parts[i].weight > 0)
    return replace(vector, image_share=1 - query.text_share, texts=texts)


def embed_text_parts(embedder: TextEmbedder, query: Query) -> np.ndarray | None:
    """Return the unit vector (D,) of the texts of a query for a text embedder; None without a positive one."""
    parts = [part for part in (*query.positive, *query.negative) if part.text]
    if not query.text:
        return None
    vectors = embed_queries(embedder, [part.text for part in parts if part.text])
    return combine_vectors(vectors, [part.weight for part in parts]).unit


def sources_of(context: Context, query: Query) -> frozenset[str]:
    """Return the URIs of the sources of the chunks in a query; raise InputError if there is no such chunk."""
    ids = [part.id for part in (*query.positive, *query.negative) if part.id]
    found = {hit.id: hit.uri for hit in context.index.get(ids)} if ids else {}
    if unknown := [id for id in ids if id not in found]:
        raise unknown_chunk_error(unknown[0])
    return frozenset(found.values())


def _view(context: Context, part: QueryPart) -> Frame:
    frame = middle_frame(context.images.resolve(part.id or "")[1]) if part.image is None else read_image(part.image)
    return region_view(context.models.embedder, frame, None if part.box is None else check_box(part.box))
