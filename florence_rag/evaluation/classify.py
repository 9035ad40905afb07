"""Classification of labeled images and actions of video clips: top-1, top-5, and the mean of top-1 over classes.

Caltech-101, Pets and Flowers are reported in the mean over classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from florence_rag.datasets.images import ImageExample
from florence_rag.datasets.videos import VideoClip, clip_frames
from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.evaluation.bootstrap import bootstrap_intervals, mean_interval
from florence_rag.evaluation.image_reading import Track, embed_images, read_items
from florence_rag.evaluation.report import EvaluationReport, Metric
from florence_rag.perception.base import Classifier
from florence_rag.types import Failure

if TYPE_CHECKING:
    from florence_rag.perception.actions import VideoCoSwinRecognizer

TOPS = (1, 5)
MAX_FRAMES = 300
"""The most frames of a clip that a model classifies."""


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

    InputError is raised for a label that the classifier does not know, or if no image can be read.
    """
    number = {label: i for i, label in enumerate(classifier.labels)}
    if unknown := sorted({image.label for image in images} - set(number)):
        raise InputError(f"the classifier does not know the label {unknown[0]!r}; it knows {', '.join(number):.200}")
    failed: list[Failure] = []
    usable, vectors = embed_images(track(images), embedder, failed)
    labels = np.array([number[image.label] for image in usable])
    probabilities = classifier.probabilities(vectors)
    right = {k: top_k_accuracy(probabilities, labels, k) for k in TOPS if k < len(number)}
    metrics = (*_top_metrics(right), _mean_over_classes(right[1], labels))
    counts = {"images": len(usable), "classes": len(number)}
    return EvaluationReport("classify", embedder.info.name, counts, metrics, tuple(failed))


def _mean_over_classes(right: np.ndarray, labels: np.ndarray) -> Metric:
    def mean(drawn: np.ndarray) -> list[float]:
        count = np.bincount(labels[drawn])
        return [float((np.bincount(labels[drawn], right[drawn])[count > 0] / count[count > 0]).mean())]

    (value,) = mean(np.arange(len(labels)))
    return Metric("top-1, mean over classes", value, *bootstrap_intervals(mean, len(labels))[0])


def _top_metrics(right: Mapping[int, np.ndarray]) -> list[Metric]:
    return [Metric(f"top-{k}", float(each.mean()), *mean_interval(each)) for k, each in right.items()]


def evaluate_actions(
    clips: Sequence[VideoClip], classifier: VideoCoSwinRecognizer, name: str, track: Track = iter
) -> EvaluationReport:
    """Measure top-1, and top-5 if there are more than five labels, on one view of each whole clip.

    Missing and damaged clips are reported. InputError is raised for an unknown label, or if no clip can be read.
    """
    if unknown := sorted({clip.label for clip in clips} - set(classifier.labels)):
        raise InputError(f"{name} does not know the label {unknown[0]!r}; it knows {', '.join(classifier.labels):.200}")
    failed: list[Failure] = []
    frames_of = read_items(
        track(clips),
        "clips",
        lambda clip: list(clip_frames(clip, classifier.fps, MAX_FRAMES)),
        failed,
        attrgetter("name"),
    )
    ranks = np.array(
        [[label for label, _ in classifier.classify(frames)].index(clip.label) for clip, frames in frames_of]
    )
    right = {k: (ranks < k).astype(float) for k in TOPS if k < len(classifier.labels)}
    counts = {"clips": len(ranks), "classes": len(classifier.labels)}
    return EvaluationReport("actions", name, counts, tuple(_top_metrics(right)), tuple(failed))
