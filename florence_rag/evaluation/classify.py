"""Classification of labeled images: top-1, top-5, and the mean of top-1 over classes.

Caltech-101, Pets and Flowers are reported in the mean over classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from florence_rag.datasets.images import ImageExample
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import bootstrap_interval, mean_interval
from florence_rag.evaluation.image_reading import Track, embed_images
from florence_rag.evaluation.report import EvaluationReport, Metric
from florence_rag.types import Failure

TOPS = (1, 5)


class Classifier(Protocol):
    """A classifier of images by their vectors, such as tasks.probe.LinearProbe."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that the classifier knows."""
        ...

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return the confidences of all labels for unit vectors: (N, D) -> (N, labels), rows that sum to one."""
        ...


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Return whether the right label is among the k likeliest, (N,) float64; labels: (N,) its column.

    Where labels are equally likely, it is the probability that the right one is drawn.
    """
    own = probabilities[np.arange(len(labels)), labels][:, None]
    likelier, tied = (probabilities > own).sum(axis=1), (probabilities == own).sum(axis=1)
    return np.asarray(np.clip((k - likelier) / tied, 0, 1))


def evaluate_classify(
    images: Sequence[ImageExample], classifier: Classifier, embedder: Embedder, track: Track = iter
) -> EvaluationReport:
    """Measure top-1, its mean over classes, and top-5 if there are more than five labels; intervals are over images.

    Raises:
        InputError: An image has a label that the classifier does not know, or no image can be read.
    """
    number = {label: i for i, label in enumerate(classifier.labels)}
    if unknown := sorted({image.label for image in images} - set(number)):
        raise InputError(f"the classifier does not know the label {unknown[0]!r}; it knows {', '.join(number):.200}")
    failed: list[Failure] = []
    usable, vectors = embed_images(track(images), embedder, failed)
    labels = np.array([number[image.label] for image in usable])
    probabilities = classifier.probabilities(vectors)
    right = {k: top_k_accuracy(probabilities, labels, k) for k in TOPS if k < len(number)}
    metrics = [Metric(f"top-{k}", float(each.mean()), *mean_interval(each)) for k, each in right.items()]
    metrics.append(_mean_over_classes(right[1], labels))
    counts = {"images": len(usable), "classes": len(number)}
    return EvaluationReport("classify", embedder.info.name, counts, tuple(metrics), tuple(failed))


def _mean_over_classes(right: np.ndarray, labels: np.ndarray) -> Metric:
    def mean(drawn: np.ndarray) -> float:
        count = np.bincount(labels[drawn])
        return float((np.bincount(labels[drawn], right[drawn])[count > 0] / count[count > 0]).mean())

    value = mean(np.arange(len(labels)))
    return Metric("top-1, mean over classes", value, *bootstrap_interval(mean, len(labels)))
