"""Classifiers of images by their vectors, and zero-shot classification from the names of the classes.

Zero-shot classification follows CLIP (arXiv 2103.00020, section 3.1.4), as UniCL and Florence do: the vector of a label
is the mean of the unit vectors of its prompts, scaled to length one; confidences are a softmax over the cosines times
the scale that the embedder was trained with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from florence_rag.batching import batched
from florence_rag.embedding.base import Embedder, TextEmbedder, unit_rows
from florence_rag.errors import InputError
from florence_rag.models.prompt_templates import UNICL_PROMPTS, check_prompts, sentences_for
from florence_rag.perception.base import Classifier
from florence_rag.text_arguments import check_text
from florence_rag.types import Hit

_LABELS_PER_BATCH = 64


@dataclass(frozen=True, slots=True)
class Classified:
    """The class of one image.

    Args:
        label: The most likely label.
        confidence: Its confidence, in [0, 1].
        candidates: The most likely labels with their confidences, best first.
        source: The file; "" for pixels.
        id: The id of an indexed image; "" for any other.
    """

    label: str
    confidence: float
    candidates: tuple[tuple[str, float], ...]
    source: str = ""
    id: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values; source and id only where they are known."""
        where = {name: value for name, value in (("source", self.source), ("id", self.id)) if value}
        candidates = [list(candidate) for candidate in self.candidates]
        return {**where, "label": self.label, "confidence": self.confidence, "candidates": candidates}


class ZeroShotClassifier:
    """A Classifier for two or more labels, with any embedder of images and texts.

    Prompts have {} in place of the label; by default they are UniCL's 81. `scale` is the factor of the cosines before
    the softmax; by default the one that the embedder was trained with.
    """

    def __init__(
        self,
        embedder: Embedder,
        labels: Sequence[str],
        *,
        prompts: Sequence[str] | None = None,
        scale: float | None = None,
    ) -> None:
        self.labels = check_labels(labels)
        self.vectors = label_vectors(embedder, self.labels, prompts)
        self._scale = embedder.capabilities.logit_scale if scale is None else scale

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return (N, labels) float32 whose rows sum to one, for the unit vectors (N, D) of images."""
        return softmax(self._scale * (vectors @ self.vectors.T))


def classify(
    classifier: Classifier, vectors: np.ndarray, hits: Sequence[Hit], max_candidates: int = 5
) -> list[Classified]:
    """Classify images, which the hits name, by their unit vectors (N, D), with at most `max_candidates` labels each."""
    probabilities = classifier.probabilities(vectors)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :max_candidates]
    classified = []
    for hit, row, best in zip(hits, probabilities, order, strict=True):
        candidates = tuple((classifier.labels[i], round(float(row[i]), 4)) for i in best)
        classified.append(Classified(*candidates[0], candidates, hit.source, hit.id))
    return classified


def label_vectors(embedder: TextEmbedder, labels: Sequence[str], prompts: Sequence[str] | None = None) -> np.ndarray:
    """Return the unit vectors (labels, D) float32, each the mean direction of the prompts of a label."""
    templates = check_prompts(UNICL_PROMPTS if prompts is None else prompts)
    batches = []
    for batch in batched(labels, _LABELS_PER_BATCH):
        rows = embedder.embed_texts([sentence for label in batch for sentence in sentences_for(label, templates)])
        batches.append(unit_rows(rows.reshape(len(batch), len(templates), -1).mean(axis=1)))
    return np.concatenate(batches)


def check_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels without surrounding spaces; raise InputError if they are not two or more different texts."""
    items = [labels] if isinstance(labels, str) else list(labels)
    if isinstance(labels, str) or not all(isinstance(label, str) for label in items):
        raise InputError(f"labels must be a list of texts, got {labels!r:.80}")
    clean = tuple(" ".join(check_text(label, "label").split()) for label in items)
    if empty := [number for number, label in enumerate(clean, start=1) if not label]:
        raise InputError(f"label {empty[0]} of {len(clean)} is empty; remove it, or give it a name")
    first: dict[str, str] = {}
    for label in clean:
        if (other := first.setdefault(label.casefold(), label)) != label:
            raise InputError(f"the labels {other!r} and {label!r} differ in case alone; write each class in one way")
    if len(first) < len(clean):
        repeated = next(label for label in clean if clean.count(label) > 1)
        raise InputError(f"the label {repeated!r} is given twice; give each once")
    if len(clean) < 2:
        raise InputError(f"the labels {list(clean)!r} are fewer than two; give two or more classes to choose from")
    return clean


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return rows (N, labels) float32 that sum to one."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)
