"""Tags the images of an index, and writes the tags into their metadata, where filters find them.

`tags` is a list of all tags of an image; `tags_guessed` says which of them a model gave, and how sure it was. Only the
others, of people, ever vote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from florence_rag.context import Context
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.index.base import Filter
from florence_rag.tasks.classifier import check_labels
from florence_rag.tasks.classify import whole_images
from florence_rag.tasks.tag_propagation import Known, Quality, Tagger, agreement, ranked, train_tagger
from florence_rag.tasks.zero_shot import label_vectors
from florence_rag.types import Hit

TAGS, GUESSED = "tags", "tags_guessed"
_MOST = 5000
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Tagged:
    """What was said of one image. tags: those above the threshold, with their confidence; none where that is unsure.

    candidates: the likeliest, whatever their confidence.
    """

    id: str
    source: str
    tags: tuple[tuple[str, float], ...]
    candidates: tuple[tuple[str, float], ...]

    @property
    def is_unsure(self) -> bool:
        """Whether no tag was sure enough."""
        return not self.tags

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "id": self.id,
            "source": self.source,
            "tags": dict(self.tags),
            "unsure": self.is_unsure,
            "candidates": [list(candidate) for candidate in self.candidates],
        }


@dataclass(frozen=True, slots=True)
class TagReport:
    """labels: that were to be told. tagged: how many images people had tagged; they are left as they are. quality: how
    well tags agree with theirs, None where they are too few. applied: whether the tags were written."""

    images: tuple[Tagged, ...]
    labels: tuple[str, ...]
    tagged: int
    quality: Quality | None
    applied: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        quality = {**asdict(self.quality), "f1": self.quality.f1} if self.quality else None
        rest = {"labels": list(self.labels), "tagged": self.tagged, "quality": quality, "applied": self.applied}
        return {"images": [image.to_dict() for image in self.images], **rest}


@dataclass(frozen=True, slots=True, eq=False)
class OpenTagger:
    """A Tagger with its labels in words, and the ids of the images that people tagged."""

    labels: tuple[str, ...]
    tagger: Tagger
    by_hand: frozenset[str]

    def of(
        self, vectors: np.ndarray, threshold: float
    ) -> list[tuple[list[tuple[str, float]], list[tuple[str, float]]]]:
        """Of each of the pictures (N, D): the tags above the threshold, and the likeliest ones."""
        rows = [ranked(self.labels, row) for row in self.tagger.confidences(vectors)]
        return [([pair for pair in row if pair[1] >= threshold], row[:_LISTED]) for row in rows]


def open_tagger(context: Context, labels: Iterable[str] | None) -> OpenTagger:
    """labels: by default all tags that people gave. At most 5,000 tagged images are learned from."""
    found = (hit for hits in whole_images(context, {"metadata.tags": {"$ne": None}}) for hit in hits)
    by_hand = {hit.id: tags for hit in found if (tags := hand_tags(hit))}
    if labels is None:
        labels = sorted({tag for tags in by_hand.values() for tag in tags})
        if not labels:
            raise InputError("no image has a tag yet: give labels, or tag a few images first")
    names = check_labels(labels)
    ids = sorted(by_hand)[:_MOST]
    has = np.array([[label in by_hand[id] for label in names] for id in ids], dtype=bool).reshape(len(ids), len(names))
    scale = context.models.embedder.capabilities.logit_scale
    tagger = train_tagger(label_vectors(context.models.embedder, names), Known(context.index.vectors(ids), has), scale)
    return OpenTagger(names, tagger, frozenset(by_hand))


def tag_images(
    context: Context, labels: Iterable[str] | None, filter: Filter | None, threshold: float, apply: bool
) -> TagReport:
    """As FlorenceRAG.tag."""
    check_threshold(threshold)
    opened = open_tagger(context, labels)
    images: list[Tagged] = []
    for hits in whole_images(context, filter):
        fresh = [hit for hit in hits if hit.id not in opened.by_hand]
        if not fresh:
            continue
        said = opened.of(context.index.vectors([hit.id for hit in fresh]), threshold)
        pairs = list(zip(fresh, said, strict=True))
        images += [Tagged(hit.id, hit.source, tuple(tags), tuple(best)) for hit, (tags, best) in pairs]
        if apply:
            context.index.update_metadata({hit.id: _guessed(hit, dict(tags)) for hit, (tags, _) in pairs})
    quality = agreement(opened.tagger.labels, opened.tagger.known, threshold)
    return TagReport(tuple(images), opened.labels, len(opened.by_hand), quality, apply)


def set_tags(context: Context, tags: Mapping[str, Sequence[str]]) -> None:
    """As FlorenceRAG.set_tags."""
    hits = {hit.id: hit for hit in context.index.get(list(tags))}
    if unknown := [id for id in tags if id not in hits]:
        raise unknown_chunk_error(unknown[0])
    context.index.update_metadata(
        {id: _with_tags(hits[id].metadata, _checked(names), {}) for id, names in tags.items()}
    )


def hand_tags(hit: Hit) -> list[str]:
    """The tags that a person, or the program that put the item, gave it."""
    guessed = hit.metadata.get(GUESSED) or {}
    tags = hit.metadata.get(TAGS)
    return [tag for tag in tags if isinstance(tag, str) and tag not in guessed] if isinstance(tags, list) else []


def check_threshold(threshold: float) -> None:
    """InputError where it is no share."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold!r}; it must lie between 0 and 1")


def _checked(names: Sequence[str]) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"tags are {names!r:.80}; give a list of words, none of them empty")
    return list(dict.fromkeys(" ".join(name.split()) for name in names))


def _guessed(hit: Hit, guessed: dict[str, float]) -> dict[str, Any]:
    return _with_tags(hit.metadata, list(guessed), guessed)


def _with_tags(metadata: Mapping[str, Any], tags: list[str], guessed: dict[str, float]) -> dict[str, Any]:
    rest = {name: value for name, value in metadata.items() if name not in (TAGS, GUESSED)}
    return {**rest, **({TAGS: tags} if tags else {}), **({GUESSED: guessed} if guessed else {})}


def indexed_ids(context: Context, items: Sequence[str]) -> list[str]:
    """The ids that are named, and those of the images in files that are named."""
    known = {hit.id for hit in context.index.get(items)}
    return [id for item in items for id in ([item] if item in known else _ids_of_file(context, item))]


def _ids_of_file(context: Context, item: str) -> list[str]:
    from pathlib import Path

    path = Path(item).expanduser()
    source = str(path.parent.resolve() / path.name)
    ids = [hit.id for hits in whole_images(context, {"source": source}) for hit in hits]
    if not ids:
        raise InputError(f"{item!r} is neither the id of a chunk nor an image file that is indexed")
    return ids
