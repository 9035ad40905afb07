"""Recommends hits that are similar to liked items, unlike disliked ones, new, and diverse.

Each liked item is a query of its own, with the disliked items as its negative part, so that two interests are not
averaged into a third. A hit is ranked by its best and by its mean reciprocal rank over
these searches, because cosines to texts and to images share no scale. Items that were seen before are excluded, and the
result is diversified by maximal marginal relevance. The selected hits are returned in the order of their scores.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from florence_rag.chunking import ImageInput, read_image
from florence_rag.chunking.images import UNNAMED_IMAGE
from florence_rag.context import Context
from florence_rag.embedding.base import embed_image_queries, embed_queries, unit_rows
from florence_rag.errors import InputError, check_keywords
from florence_rag.index.base import Filter, with_vectors
from florence_rag.retrieval.grouping import group_hits
from florence_rag.retrieval.mmr import pick_diverse
from florence_rag.retrieval.perceptual_hash import PerceptualHashes, hash_image
from florence_rag.retrieval.query_vector import combine_vectors
from florence_rag.retrieval.request import check_count, check_kinds
from florence_rag.sources.paths import path_to_uri
from florence_rag.tasks.query_items import Item, read_items
from florence_rag.tokenize import shorten
from florence_rag.types import PERCEPTUAL_HASH, Hit, Kind

_RRF_K = 10
_MEAN_WEIGHT = 0.25  # of the mean reciprocal rank, against the best
_MAX_REASONS = 3
_MAX_GROUPED = 10
_POOL = 4  # candidates per hit that is returned
_DEPTH, _MAX_DEPTH = 50, 5000
_NAME_CHARACTERS = 40


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
    """Return up to k hits, as `FlorenceRAG.recommend` does."""
    check_keywords(options, RecommendOptions)
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
        raise InputError(f"{min(both)} is both liked and disliked; remove it from one of the lists")
    seen = SeenItems([*liked, *disliked, *known])
    queries = _query_vectors(liked, disliked)
    depth, pool = max(_DEPTH, _POOL * k), _POOL * k
    kinds, filter = check_kinds(options.get("kinds")), options.get("filter")
    while True:
        results = [context.index.search_vector(vector, depth, kinds=kinds, filter=filter) for vector in queries]
        new = [hit for hit in group_hits(_ranked(results, liked), _MAX_GROUPED) if hit not in seen]
        if len(new) >= pool or depth >= _MAX_DEPTH or all(len(hits) < depth for hits in results):
            break
        depth = min(4 * depth, _MAX_DEPTH)
    new = new[: max(pool, _DEPTH)]
    best = max((hit.score for hit in new), default=0.0)
    scaled = [replace(hit, score=hit.score / best) for hit in new]
    kept, vectors = with_vectors(context.index, scaled)
    scores = np.array([hit.score for hit in kept])
    return [kept[i] for i in sorted(pick_diverse(scores, vectors, k, 1 - diversity))]


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """An item that is liked, disliked or was seen: its name in explanations, and its unit vector (D,).

    The uri of its source is "" for texts and pixels; only images have metadata, with their perceptual hash.
    """

    name: str
    vector: np.ndarray
    uri: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class SeenItems:
    """Contains hits of the same sources, near-duplicate images, and images of the same burst."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._uris = {example.uri for example in examples}
        self._hashes = PerceptualHashes()
        for example in examples:
            self._hashes.add(example.metadata)

    def __contains__(self, hit: Hit) -> bool:
        """Return whether the hit, or one that is grouped with it, was seen."""
        return any(
            each.uri in self._uris or (each.kind == "image" and self._hashes.find(each.metadata) is not None)
            for each in (hit, *hit.grouped_hits)
        )


def _ranked(results: Sequence[Sequence[Hit]], liked: Sequence[Example]) -> list[Hit]:
    """Merge the results of all liked items, best first."""
    unique: dict[str, Hit] = {}
    earned: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for hits, example in zip(results, liked, strict=True):
        for rank, hit in enumerate(hits):
            evidence = f"similar to {example.name} ({hit.score:.2f})" if hit.score > 0 else ""
            earned[hit.id].append((_RRF_K / (_RRF_K + rank), evidence))
            unique[hit.id] = hit
    ranked = []
    for id, hit in unique.items():
        best_first = sorted(earned[id], reverse=True)
        mean = sum(score for score, _ in best_first) / len(liked)
        score = (1 - _MEAN_WEIGHT) * best_first[0][0] + _MEAN_WEIGHT * mean
        explanation = "; ".join(evidence for _, evidence in best_first[:_MAX_REASONS] if evidence)
        ranked.append(replace(hit, score=score, explanation=explanation))
    return sorted(ranked, key=lambda hit: (-hit.score, hit.id))


def _query_vectors(liked: Sequence[Example], disliked: Sequence[Example]) -> np.ndarray:
    """Return (liked, D): the vector of a query for each liked item, with the mean of the disliked ones against it."""
    vectors, weights = [example.vector for example in liked], [1.0]
    negative = []
    if disliked:
        negative, weights = [np.mean([example.vector for example in disliked], axis=0)], [1.0, -1.0]
    return np.stack([combine_vectors(np.stack([vector, *negative]), weights).unit for vector in vectors])


def _examples(context: Context, items: Sequence[Item], name: str, files: bool) -> list[Example]:
    """Return the name and the vector of each item."""
    if isinstance(items, str | bytes | Path):
        raise InputError(f"{name} is {items!r:.80}; give a list, even of one item")
    parts = read_items(context.index, items, files=files)
    hits = {hit.id: hit for hit in context.index.get([part.id for part in parts if part.id])}
    examples = []
    for part in parts:
        if part.id:
            hit = hits[part.id]
            name_and_place = filter(None, (Path(hit.source).name, str(hit.locator)))
            examples.append(_hit_example(context, [hit], ", ".join(name_and_place)))
        elif part.text:
            name = f'"{shorten(part.text, _NAME_CHARACTERS)}"'
            examples.append(Example(name, embed_queries(context.models.embedder, [part.text])[0]))
        elif part.image is not None:
            examples.append(_image_example(context, part.image))
    return examples


def _hit_example(context: Context, hits: Sequence[Hit], name: str) -> Example:
    """Return an example with the mean vector of some chunks of one source."""
    mean = unit_rows(context.index.vectors([hit.id for hit in hits]).mean(axis=0)[None])[0]
    return Example(name, mean, hits[0].uri, hits[0].metadata if hits[0].kind == "image" else {})


def _image_example(context: Context, image: ImageInput) -> Example:
    """Use the stored vectors of an indexed file of any kind; any other file must be an image."""
    uri = path_to_uri(image) if isinstance(image, str | Path) else ""
    stored = [hit for hit in context.index.find(filter={"source": uri}) if hit.locator.box is None] if uri else []
    if stored:
        return _hit_example(context, sorted(stored, key=lambda hit: hit.id), Path(uri).name)
    frame = read_image(image)
    vector = embed_image_queries(context.models.embedder, [frame])[0]
    return Example(Path(uri).name or UNNAMED_IMAGE, vector, uri, {PERCEPTUAL_HASH: hash_image(frame)})
