"""What other queries find in a collection: something is nearest to any query, so a cosine is compared with theirs.

sample     up to 256 vectors of each kind of chunk
others     the vectors of 32 everyday texts, and of other images of the collection if the query has an image
best       for each of the others, its best cosine in the sample
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from florence_rag.context import Context
from florence_rag.embedding.everyday_texts import embed_everyday_texts
from florence_rag.index.base import with_vectors
from florence_rag.types import Kind

SAMPLE_ROWS = 256
"""The most vectors of each kind with which a query is compared."""
_MAX_AGE_S = 600.0
_UNRELATED_IMAGES = (0.45, 0.55, 0.65, 0.75)
"""Best cosines of other images that are assumed in addition, because small collections have few images to compare."""
_LEAST_SPREAD = 0.25
"""The smallest spread, as a share of the deviation of all cosines: the best ones of similar texts may be equal."""


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """The cosines that other queries reach in a collection.

    Attributes:
        sample: Vectors (N, D) of the chunks of one kind.
        texts: Vectors (M, D) of everyday texts.
        best: The median of the best cosine of each of the other queries.
        spread: The robust standard deviation of these, above 0.
    """

    sample: np.ndarray
    texts: np.ndarray
    best: float
    spread: float

    def distances(self, cosines: np.ndarray) -> np.ndarray:
        """Return how far cosines (N,) lie above what other queries find, in units of the spread."""
        distances: np.ndarray = (cosines - self.best) / self.spread
        return distances


class BackgroundSample:
    """What other queries find in a random sample of an index, computed when it is needed.

    The ids of chunks of files are digests, so the rows with the smallest ids are a random sample. It is read again when
    it is ten minutes old, or when a search finds more than it holds. It is not stored, so it fits any database.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._kept: dict[tuple[object, ...], tuple[float, Any]] = {}

    def of(self, kind: Kind, found: int, image_share: float = 0.0) -> Background:
        """Return the background of a query among the chunks of a kind.

        Args:
            kind: The kind of chunk.
            found: The number of chunks that a search has found; the sample is read again if it holds fewer.
            image_share: The share of images in the weights of the query.
        """
        name, share = self._context.models.embedder.info.fingerprint, round(image_share, 1)
        background: Background = self.keep((name, kind, share), lambda: self._background(kind, share))
        if len(background.sample) < min(found, SAMPLE_ROWS):
            for key in [key for key in self._kept if kind in key or key[-1]]:
                del self._kept[key]
            background = self.keep((name, kind, share), lambda: self._background(kind, share))
        return background

    def of_text_vectors(self) -> Background:
        """Return the background of a query among the vectors of the text embedder, without a sample of these."""
        embedder, index = self._context.models.text_embedder, self._context.index
        if embedder is None:
            raise ValueError("the index has no text embedder")

        def search() -> Background:
            texts = embed_everyday_texts(embedder)
            best = [hit.score for vector in texts for hit in index.search_text_vector(vector, 1)]
            return Background(np.empty((0, texts.shape[1])), texts, *_center(best))

        background: Background = self.keep((embedder.info.fingerprint, "text_dense", 0.0), search)
        return background

    def _background(self, kind: Kind, image_share: float) -> Background:
        sample, texts = self._sample(kind), self._texts()
        if not image_share:
            cosines = texts @ sample.T
            best = cosines.max(axis=1, initial=-1.0)
            return Background(sample, texts, *_center(best, float(cosines.std()) if cosines.size else 0.0))
        images = self._sample("image")[: len(texts)]
        cosines = (image_share * images + (1 - image_share) * texts[: len(images)]) @ sample.T
        if kind == "image":
            np.fill_diagonal(cosines, -1.0)  # not what an image finds in itself
        best = cosines.max(axis=1, initial=-1.0)
        return Background(sample, texts, *_center([*best[best > -1.0].tolist(), *_UNRELATED_IMAGES]))

    def _sample(self, kind: Kind) -> np.ndarray:
        index = self._context.index
        return with_vectors(index, [*islice(index.find(kinds={kind}), SAMPLE_ROWS)])[1]

    def _texts(self) -> np.ndarray:
        embedder = self._context.models.embedder
        key = embedder.info.fingerprint, "texts", 0.0
        vectors: np.ndarray = self.keep(key, lambda: embed_everyday_texts(embedder), math.inf)
        return vectors

    def keep(self, key: tuple[object, ...], make: Callable[[], Any], max_age_s: float = _MAX_AGE_S) -> Any:
        """Return the value of a key, made again if it is too old."""
        if key not in self._kept or time.monotonic() - self._kept[key][0] > max_age_s:
            self._kept[key] = time.monotonic(), make()
        return self._kept[key][1]


def _center(best: Sequence[float] | np.ndarray, deviation: float = 0.0) -> tuple[float, float]:
    """Return the median and the robust standard deviation of best cosines; `deviation` is that of all cosines."""
    median = float(np.median(best)) if len(best) else 0.0
    spread = 1.4826 * float(np.median(np.abs(np.asarray(best) - median))) if len(best) else 1.0
    return median, max(spread, _LEAST_SPREAD * deviation, 0.01)
