"""Tags the images of an index, and writes the tags into their metadata, where filters find them.

A tag is predicted from two features: how well its label fits the image, and the tags of the nearest tagged images. A
logistic regression (Platt scaling, 1999) weighs both. It is trained on the images that people tagged, each predicted
without its own tags, so that a confidence of 0.8 is right in about 8 of 10 cases among such images.

The metadata field `tags` lists all tags of an image; `tags_guessed` maps those that a model assigned to their
confidence. Only tags that people assigned are learned from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from florence_rag.context import Context
from florence_rag.errors import InputError, unknown_chunk_error
from florence_rag.index.base import ChunkIndex, Filter, for_present, with_vectors
from florence_rag.sources.paths import path_to_uri
from florence_rag.tasks.classifier import check_labels, label_vectors, softmax
from florence_rag.tasks.classify import whole_images
from florence_rag.tasks.probe import logistic_regression
from florence_rag.text_arguments import check_text, check_texts
from florence_rag.types import Hit

TAGS, GUESSED = "tags", "tags_guessed"
NEIGHBORS = 10
MIN_TAGGED = 10
"""With fewer tagged images nothing is calibrated: then the labels compete, as in zero-shot classification."""
CLIP_SCALE = 100.0
_MAX_TAGGED = 5000
_MAX_CANDIDATES = 3
_VOTE_TEMPERATURE = 0.05
_SMOOTHING = 0.05
_FOLDS = 5
_BINS = 10


@dataclass(frozen=True, slots=True)
class TagQuality:
    """How well predicted tags agree with those of people, cross-validated on the tagged images at one threshold.

    Args:
        items: The number of tagged images.
        precision: The share of predicted tags that are right.
        recall: The share of right tags that are predicted.
        unsure: The share of images without a predicted tag.
        calibration_error: The mean difference between confidence and accuracy.
    """

    items: int
    precision: float
    recall: float
    unsure: float
    calibration_error: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-12)


@dataclass(frozen=True, slots=True)
class Tagged:
    """The predicted tags of one image.

    Args:
        id: The id of the image.
        source: Its file.
        tags: The tags at or above the threshold, with their confidence.
        candidates: The most likely tags at any confidence.
    """

    id: str
    source: str
    tags: tuple[tuple[str, float], ...]
    candidates: tuple[tuple[str, float], ...]

    @property
    def is_unsure(self) -> bool:
        """Whether no tag reaches the threshold."""
        return not self.tags

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        candidates = [list(candidate) for candidate in self.candidates]
        return {**asdict(self), "tags": dict(self.tags), "unsure": self.is_unsure, "candidates": candidates}


@dataclass(frozen=True, slots=True)
class TagReport:
    """The result of tagging the images of an index.

    Args:
        images: The images that nobody had tagged.
        labels: The tags that were predicted.
        tagged: The number of images that people had tagged, which do not change.
        quality: The cross-validated quality; None if too few images are tagged.
        applied: Whether the tags were written.
        deleted: The number of images that somebody deleted meanwhile, which are left out.
    """

    images: tuple[Tagged, ...]
    labels: tuple[str, ...]
    tagged: int
    quality: TagQuality | None
    applied: bool
    deleted: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        quality = {**asdict(self.quality), "f1": self.quality.f1} if self.quality else None
        rest = {"labels": list(self.labels), "tagged": self.tagged, "quality": quality, "applied": self.applied}
        return {"images": [image.to_dict() for image in self.images], **rest, "deleted": self.deleted}


@dataclass(frozen=True, slots=True, eq=False)
class TaggedItems:
    """Images that people tagged: their unit vectors (M, D), and whether each has each label, (M, labels) bool."""

    vectors: np.ndarray
    has: np.ndarray

    def is_enough(self) -> bool:
        """Return whether there are enough images, with and without tags of these labels, to train on."""
        return len(self.has) >= MIN_TAGGED and bool(self.has.any()) and not bool(self.has.all())


@dataclass(frozen=True, slots=True, eq=False)
class Tagger:
    """Predicts tags from the vectors of images.

    The unit vectors of the labels are (labels, D); mean and deviation (labels,) are those of each label's cosines. The
    weights (3,) are those of both features and the bias. They are None if nothing was trained; then the confidences are
    a softmax of the cosines times the scale.
    """

    labels: np.ndarray
    known: TaggedItems
    scale: float
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray | None = None

    def confidences(self, vectors: np.ndarray) -> np.ndarray:
        """Return (N, labels) in [0, 1] for the unit vectors (N, D) of images."""
        cosines = vectors @ self.labels.T
        if self.weights is None:
            return softmax(self.scale * cosines)
        inputs = self.features(cosines, vectors @ self.known.vectors.T)
        return np.asarray(1 / (1 + np.exp(-(inputs @ self.weights[:2] + self.weights[2]))))

    def features(self, cosines: np.ndarray, similarities: np.ndarray) -> np.ndarray:
        """Return (N, labels, 2): the standardized cosine, and the log odds of the votes of the nearest tagged images.

        The cosines (N, labels) are between images and labels, the similarities (N, M) between images and tagged images.
        """
        nearest = np.argsort(-similarities, axis=1)[:, :NEIGHBORS]
        near = np.take_along_axis(similarities, nearest, axis=1)
        votes = np.exp((near - near[:, :1]) / _VOTE_TEMPERATURE)
        shares = (votes[:, :, None] * self.known.has[nearest]).sum(axis=1) / votes.sum(axis=1)[:, None]
        odds = np.log((shares + _SMOOTHING) / (1 - shares + _SMOOTHING))
        return np.stack([(cosines - self.mean) / self.deviation, odds], axis=-1)


def train_tagger(labels: np.ndarray, known: TaggedItems, scale: float = CLIP_SCALE) -> Tagger:
    """Train a tagger on tagged images; with too few it only compares the labels (labels, D) with images."""
    if not known.is_enough():
        return Tagger(labels, known, scale, np.zeros(len(labels)), np.ones(len(labels)))
    cosines = known.vectors @ labels.T
    tagger = Tagger(labels, known, scale, cosines.mean(axis=0), cosines.std(axis=0) + 1e-6)
    similarities = known.vectors @ known.vectors.T
    np.fill_diagonal(similarities, -np.inf)  # an image is not its own neighbor
    inputs = tagger.features(cosines, similarities).reshape(-1, 2)
    model: Any = logistic_regression()(C=1.0).fit(inputs, known.has.reshape(-1))
    return replace(tagger, weights=np.array([*model.coef_[0], model.intercept_[0]]))


@dataclass(frozen=True, slots=True, eq=False)
class IndexTagger:
    """A Tagger for an index, with the names of its labels and the ids of the images that people tagged."""

    labels: tuple[str, ...]
    tagger: Tagger
    by_hand: frozenset[str]

    def predict(self, hits: Sequence[Hit], vectors: np.ndarray, threshold: float) -> list[Tagged]:
        """Return the tags of images with the unit vectors (N, D), at or above the threshold."""
        predicted = []
        for hit, confidences in zip(hits, self.tagger.confidences(vectors), strict=True):
            row = ranked(self.labels, confidences)
            tags = tuple(pair for pair in row if pair[1] >= threshold)
            predicted.append(Tagged(hit.id, hit.source, tags, tuple(row[:_MAX_CANDIDATES])))
        return predicted


def ranked(labels: Sequence[str], confidences: np.ndarray) -> list[tuple[str, float]]:
    """Return the labels of one image with their confidences (labels,), best first."""
    order = np.argsort(-confidences, kind="stable")
    return [(labels[i], round(float(confidences[i]), 4)) for i in order]


def open_tagger(context: Context, labels: Iterable[str] | None) -> IndexTagger:
    """Train a tagger on up to 5,000 tagged images of an index, for two or more tags or all that people assigned."""
    tagged = [hit for hits in whole_images(context, {"metadata.tags": {"$ne": None}}) for hit in hits]
    by_hand = {hit.id: tags for hit in tagged if (tags := _hand_tags(hit))}
    if labels is None:
        labels = sorted({tag for tags in by_hand.values() for tag in tags})
        if not labels:
            raise InputError("no image has a tag yet: give labels, or tag a few images first")
    names = check_labels(labels)
    chosen = sorted((hit for hit in tagged if hit.id in by_hand), key=lambda hit: hit.id)[:_MAX_TAGGED]
    kept, vectors = with_vectors(context.index, chosen)
    has = np.array([[label in by_hand[hit.id] for label in names] for hit in kept], dtype=bool)
    embedder = context.models.embedder
    known = TaggedItems(vectors, has.reshape(len(kept), len(names)))
    tagger = train_tagger(label_vectors(embedder, names), known, embedder.capabilities.logit_scale)
    return IndexTagger(names, tagger, frozenset(by_hand))


def tag_images(
    context: Context, labels: Iterable[str] | None, filter: Filter | None, threshold: float, apply: bool
) -> TagReport:
    """Tag the images of an index, as `FlorenceRAG.tag` does."""
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold!r}; it must lie between 0 and 1")
    tagger = open_tagger(context, labels)
    quality = cross_validate(tagger.tagger.labels, tagger.tagger.known, threshold)
    apply = apply and quality is not None  # a confidence that is not calibrated must not fill the metadata
    images, deleted = [], 0
    for hits in whole_images(context, filter):
        untagged = [hit for hit in hits if hit.id not in tagger.by_hand]
        kept, vectors = with_vectors(context.index, untagged)
        predicted = {image.id: image for image in tagger.predict(kept, vectors, threshold)}
        if apply and predicted:
            kept = _write(context.index, kept, predicted)
        images += [predicted[hit.id] for hit in kept]
        deleted += len(untagged) - len(kept)
    return TagReport(tuple(images), tagger.labels, len(tagger.by_hand), quality, apply, deleted)


def _write(index: ChunkIndex, hits: Sequence[Hit], predicted: Mapping[str, Tagged]) -> list[Hit]:
    """Write the predicted tags of images, and return those that still exist."""
    tags = {id: dict(image.tags) for id, image in predicted.items()}
    metadata = {hit.id: _with_tags(hit.metadata, [*tags[hit.id]], tags[hit.id]) for hit in hits}
    return for_present(index, hits, lambda ids: index.update_metadata({id: metadata[id] for id in ids}))[0]


def cross_validate(labels: np.ndarray, known: TaggedItems, threshold: float) -> TagQuality | None:
    """Return the quality over five folds, each tagged by a tagger trained on the others; None with too few images."""
    folds = np.random.default_rng(0).permutation(len(known.has)) % _FOLDS
    parts = [TaggedItems(known.vectors[folds != fold], known.has[folds != fold]) for fold in range(_FOLDS)]
    if not all(part.is_enough() for part in parts):
        return None
    confidences = np.zeros(known.has.shape)
    for fold, part in enumerate(parts):
        confidences[folds == fold] = train_tagger(labels, part).confidences(known.vectors[folds == fold])
    predicted = confidences >= threshold
    right = int((predicted & known.has).sum())
    return TagQuality(
        items=len(known.has),
        precision=right / max(int(predicted.sum()), 1),
        recall=right / max(int(known.has.sum()), 1),
        unsure=float(1 - predicted.any(axis=1).mean()),
        calibration_error=_calibration_error(confidences, known.has),
    )


def _calibration_error(confidences: np.ndarray, has: np.ndarray) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017) over ten bins; both are (N, labels)."""
    bins = np.minimum((confidences * _BINS).astype(int), _BINS - 1)
    masks = [bins == number for number in np.unique(bins)]
    return float(sum(abs(confidences[mask].mean() - has[mask].mean()) * mask.mean() for mask in masks))


def set_tags(context: Context, tags: Mapping[str, Sequence[str]]) -> None:
    """Replace the tags of chunks, as `FlorenceRAG.set_tags` does."""
    hits = {hit.id: hit for hit in context.index.get(check_texts(tags, "id"))}
    if unknown := [id for id in tags if id not in hits]:
        raise unknown_chunk_error(unknown[0])
    clean = {}
    for id, names in tags.items():
        if isinstance(names, str) or not all(isinstance(name, str) and name.strip() for name in names):
            raise InputError(f"tags are {names!r:.80}; give a list of words, none of them empty")
        clean[id] = list(dict.fromkeys(" ".join(check_text(name, "tag").split()) for name in names))
    context.index.update_metadata({id: _with_tags(hits[id].metadata, names, {}) for id, names in clean.items()})


def _with_tags(metadata: Mapping[str, Any], tags: list[str], guessed: dict[str, float]) -> dict[str, Any]:
    """Return the metadata with these tags in place of the present ones; empty fields are removed."""
    values = {**metadata, TAGS: tags, GUESSED: guessed}
    return {name: value for name, value in values.items() if value or name not in (TAGS, GUESSED)}


def _hand_tags(hit: Hit) -> list[str]:
    """Return the tags that a person, or the program that stored the item, assigned."""
    guessed = hit.metadata.get(GUESSED) or {}
    tags = hit.metadata.get(TAGS)
    return [tag for tag in tags if isinstance(tag, str) and tag not in guessed] if isinstance(tags, list) else []


def indexed_ids(context: Context, items: Sequence[str]) -> list[str]:
    """Replace the image files among some ids and files by the ids of their images; raise InputError for others."""
    known = {hit.id for hit in context.index.get(items)}
    ids: list[str] = []
    for item in items:
        if item in known:
            ids.append(item)
            continue
        images = [hit.id for hits in whole_images(context, {"source": path_to_uri(item)}) for hit in hits]
        if not images:
            raise InputError(f"{item!r} is neither the id of a chunk nor an indexed image file")
        ids += images
    return ids
