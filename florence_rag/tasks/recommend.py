"""Recommends hits that are like the liked items, unlike the disliked ones, new, and diverse.

Each liked item searches on its own, with a vector that is moved away from the disliked items (Rocchio, 1971), so that
two tastes are not averaged into one that is neither. A hit is ranked by its best and by its mean reciprocal rank over
these searches, because cosines to texts and to images share no scale. Items that were seen before are excluded, and the
result is diversified by maximal marginal relevance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from florence_rag.chunking import read_image
from florence_rag.context import Context
from florence_rag.embedding.base import embed_queries, unit_rows
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.image_store import ImageInput
from florence_rag.index.base import Filter
from florence_rag.retrieval.grouping import group_hits
from florence_rag.retrieval.mmr import pick_diverse
from florence_rag.retrieval.perceptual_hash import PerceptualHashes, hash_image
from florence_rag.retrieval.query import check_count, check_kinds
from florence_rag.sources import MEDIA_BY_SUFFIX
from florence_rag.types import PERCEPTUAL_HASH, Hit, Kind, is_chunk_id

_DISLIKE_WEIGHT = 0.5
_RRF_K = 10
_MEAN_WEIGHT = 0.25  # of the mean reciprocal rank, against the best
_MAX_REASONS = 3
_MAX_GROUPED = 10
_POOL = 4  # candidates per hit that is returned
_DEPTH, _MAX_DEPTH = 50, 5000
_NAME_CHARACTERS = 40

Item = str | ImageInput
"""The id of an indexed chunk, a file, pixels, or a text."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An item that is liked, disliked or was seen.

    Args:
        name: Its name in explanations.
        vector: (D,), unit length.
        uri: The uri of its source; "" for texts and pixels.
        metadata: Metadata with its perceptual hash, if it has one.
    """

    name: str
    vector: np.ndarray
    uri: str = ""
    metadata: dict[str, str] | None = None


class RecommendOptions(TypedDict, total=False):
    """Keyword arguments of `FlorenceRAG.recommend`.

    Attributes:
        seen: Ids of chunks, files, pixels or texts to exclude.
        kinds: The kinds of chunks to find; all by default.
        filter: A filter as for `FlorenceRAG.search`.
        diversity: From 0, the best hits, to 1, as different as possible; 0.3 by default.
        files: Whether a text may name a file on this machine; True by default.
    """

    seen: Sequence[Item]
    kinds: Collection[Kind] | None
    filter: Filter | None
    diversity: float
    files: bool


def recommend(
    context: Context, like: Sequence[Item], dislike: Sequence[Item], k: int, **options: Unpack[RecommendOptions]
) -> list[Hit]:
    """Return up to k hits, as `FlorenceRAG.recommend` does.

    Raises:
        InputError: If an argument is wrong, or nothing is liked.
    """
    diversity, files = options.get("diversity", 0.3), options.get("files", True)
    if isinstance(diversity, bool) or not isinstance(diversity, int | float) or not 0 <= diversity <= 1:
        raise InputError(f"diversity is {diversity!r}; it must lie between 0, the best hits, and 1, all different")
    check_count(k)
    liked, disliked, known = (
        _examples(context, items, name, files)
        for items, name in ((like, "like"), (dislike, "dislike"), (options.get("seen", ()), "seen"))
    )
    if not liked:
        raise InputError("there is nothing to go by: give at least one item to like, an id, a file or a text")
    if both := {example.name for example in liked} & {example.name for example in disliked}:
        raise InputError(f"{min(both)} is both liked and disliked; decide")
    exclude = SeenItems([*liked, *disliked, *known])
    queries = query_vectors(liked, disliked)
    depth, pool = max(_DEPTH, _POOL * k), _POOL * k
    kinds, filter = check_kinds(options.get("kinds")), options.get("filter")
    while True:
        found = [context.index.search_vector(vector, depth, kinds=kinds, filter=filter) for vector in queries]
        new = [hit for hit in group_hits(_ranked(found, liked), _MAX_GROUPED) if not exclude.has(hit)]
        if len(new) >= pool or depth >= _MAX_DEPTH or all(len(hits) < depth for hits in found):
            return _diversified(context.index.vectors, new[: max(pool, _DEPTH)], k, diversity)
        depth = min(4 * depth, _MAX_DEPTH)


class SeenItems:
    """Excludes hits of the same sources, near-duplicate images, and images of the same burst."""

    def __init__(self, examples: Iterable[Example]) -> None:
        self._uris: set[str] = set()
        self._hashes = PerceptualHashes()
        for example in examples:
            self._uris.add(example.uri)
            self._hashes.add(example.metadata or {})

    def has(self, hit: Hit) -> bool:
        """Return whether the hit, or one that is grouped with it, was seen."""
        return any(each.uri in self._uris or self._is_duplicate(each) for each in (hit, *hit.grouped_hits))

    def _is_duplicate(self, hit: Hit) -> bool:
        return hit.kind == "image" and self._hashes.find(hit.metadata) is not None


def query_vectors(liked: Sequence[Example], disliked: Sequence[Example]) -> np.ndarray:
    """Return (liked, D): the vector of each liked item, moved away from the mean of the disliked ones."""
    vectors = np.stack([example.vector for example in liked])
    if not disliked:
        return vectors
    return unit_rows(vectors - _DISLIKE_WEIGHT * np.mean([example.vector for example in disliked], axis=0))


def _ranked(found: Sequence[Sequence[Hit]], liked: Sequence[Example]) -> list[Hit]:
    """Merge the results of all liked items, best first."""
    earned: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for hits, example in zip(found, liked, strict=True):
        for rank, hit in enumerate(hits):
            reason = f"similar to {example.name} ({hit.score:.2f})" if hit.score > 0 else ""
            earned[hit.id].append((_RRF_K / (_RRF_K + rank), reason))
    unique = {hit.id: hit for hits in found for hit in hits}.values()
    ranked = [_scored(hit, sorted(earned[hit.id], reverse=True), len(liked)) for hit in unique]
    return sorted(ranked, key=lambda hit: (-hit.score, hit.id))


def _scored(hit: Hit, earned: Sequence[tuple[float, str]], queries: int) -> Hit:
    mean = sum(score for score, _ in earned) / queries
    score = (1 - _MEAN_WEIGHT) * earned[0][0] + _MEAN_WEIGHT * mean
    return replace(hit, score=score, explanation="; ".join(reason for _, reason in earned[:_MAX_REASONS] if reason))


def _diversified(vectors: Callable[[list[str]], np.ndarray], hits: list[Hit], k: int, diversity: float) -> list[Hit]:
    if not hits:
        return []
    best = max(hit.score for hit in hits)
    scaled = [replace(hit, score=hit.score / best) for hit in hits]
    scores = np.array([hit.score for hit in scaled])
    chosen = pick_diverse(scores, vectors([hit.id for hit in hits]), k, 1 - diversity)
    return [scaled[i] for i in chosen]


def _examples(context: Context, items: Sequence[Item], name: str, files: bool) -> list[Example]:
    if isinstance(items, str | bytes | Path):
        raise InputError(f"{name} is {items!r:.80}; give a list, even of one item")
    hits = {hit.id: hit for hit in context.index.get([item for item in items if isinstance(item, str) and item])}
    return [_example(context, item, hits, name, files) for item in items]


def _example(context: Context, item: Item, hits: dict[str, Hit], name: str, files: bool) -> Example:
    """Read a text as an id if there is such a chunk, else as a file if there is one, else as words."""
    if isinstance(item, str):
        if hit := hits.get(item):
            return Example(_name_of(hit), context.index.vectors([hit.id])[0], hit.uri, _hash_metadata(hit))
        if not (files and _names_file(item)):
            return _text_example(context, item, name)
    return _image_example(context, item)


def _text_example(context: Context, text: str, name: str) -> Example:
    if not text.strip():
        raise InputError(f"{name} has an empty text; remove it, or describe what is meant")
    if is_chunk_id(text):
        raise unknown_chunk_error(text)
    return Example(f'"{text[:_NAME_CHARACTERS]}"', embed_queries(context.models.embedder, [text])[0])


def _names_file(text: str) -> bool:
    """Return whether a text is the path of a file, or ends like one, in which case a missing file is an error."""
    path = Path(text).expanduser()
    try:
        return path.is_file() or path.suffix.lower() in MEDIA_BY_SUFFIX
    except (OSError, ValueError):
        return False


def _image_example(context: Context, image: ImageInput) -> Example:
    """Use the stored vectors of an indexed file of any kind; any other file must be an image."""
    uri = ""
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        uri = str(path.parent.resolve() / path.name)
        if stored := _whole(context.index.find(filter={"source": uri})):
            mean = unit_rows(context.index.vectors([hit.id for hit in stored]).mean(axis=0)[None])[0]
            return Example(path.name, mean, uri, _hash_metadata(stored[0]))
    frame = read_image(image)
    name = Path(uri).name or "the given image"
    return Example(name, context.models.embedder.embed_images([frame])[0], uri, {PERCEPTUAL_HASH: hash_image(frame)})


def _whole(hits: Iterable[Hit]) -> list[Hit]:
    return sorted((hit for hit in hits if hit.locator.box is None), key=lambda hit: hit.id)


def _hash_metadata(hit: Hit) -> dict[str, str] | None:
    return dict(hit.metadata) if hit.kind == "image" and PERCEPTUAL_HASH in hit.metadata else None


def _name_of(hit: Hit) -> str:
    where = str(hit.locator)
    return f"{Path(hit.source).name}, {where}" if where else Path(hit.source).name
