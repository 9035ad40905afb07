"""Classification of pictures in a folder for each class, as ImageNet's validation set and others are laid out.

Top-1 and top-5, and the mean over classes of top-1, which some data sets (Caltech-101, Pets, Flowers) are reported in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.errors import InputError
from florence_rag.evaluation.annotations import field, read_json
from florence_rag.evaluation.bootstrap import interval, interval_of
from florence_rag.evaluation.image_dataset import Watch, embedded
from florence_rag.evaluation.report import EvaluationReport, Figure
from florence_rag.tasks.classifier import Classifier
from florence_rag.tasks.labeled_dataset import Labeled
from florence_rag.types import Failure

TOPS = (1, 5)


def read_names(file: str | Path, folders: Sequence[str]) -> dict[str, str]:
    """What the folders of classes stand for: {"n01440764": "tench", ...}, as a JSON file.

    InputError where one is not named, or two are named alike.
    """
    content = read_json(file)
    names = {folder: field(content, folder, str, f"the file {str(file)!r}") for folder in dict.fromkeys(folders)}
    for name, count in Counter(names.values()).items():
        if count > 1:
            alike = " and ".join(repr(folder) for folder, other in names.items() if other == name)
            raise InputError(f"{str(file)!r} names {alike} alike, {name!r}; give each a name of its own")
    return names


def with_names(pictures: Sequence[Labeled], names: Mapping[str, str]) -> list[Labeled]:
    """The pictures with the names in place of their folders; a folder without a name keeps its own."""
    return [picture._replace(label=" ".join(names.get(picture.label, picture.label).split())) for picture in pictures]


def among(shares: np.ndarray, label: np.ndarray, top: int) -> np.ndarray:
    """(N,) float64: whether the right label is among the likeliest; of equally likely ones the chance that it is.

    shares: (N, labels). label: (N,) the column of the right one.
    """
    own = shares[np.arange(len(label)), label][:, None]
    likelier, alike = (shares > own).sum(axis=1), (shares == own).sum(axis=1)
    return np.asarray(np.clip((top - likelier) / alike, 0, 1))


def evaluate_classify(
    pictures: Sequence[Labeled], classifier: Classifier, embedder: Embedder, watch: Watch = iter
) -> EvaluationReport:
    """Top-1, the mean over classes of it, and top-5 where there are more than five labels.

    InputError where a picture has a label that the classifier does not know. Intervals are over pictures.
    """
    number = {label: i for i, label in enumerate(classifier.labels)}
    if unknown := sorted({picture.label for picture in pictures} - set(number)):
        raise InputError(f"the classifier does not know the label {unknown[0]!r}; it knows {', '.join(number):.200}")
    failed: list[Failure] = []
    kept, vectors = embedded(watch(pictures), lambda picture: picture.path, embedder, failed)
    labels = np.array([number[picture.label] for picture in kept])
    shares = classifier.probabilities(vectors)
    right = {top: among(shares, labels, top) for top in TOPS if top < len(number)}
    figures = [Figure(f"top-{top}", float(each.mean()), *interval(each)) for top, each in right.items()]
    figures.append(_mean_over_classes(right[1], labels))
    counts = {"pictures": len(kept), "classes": len(number)}
    return EvaluationReport("classify", embedder.info.name, counts, tuple(figures), tuple(failed))


def _mean_over_classes(right: np.ndarray, labels: np.ndarray) -> Figure:
    def mean(drawn: np.ndarray) -> float:
        count = np.bincount(labels[drawn])
        return float((np.bincount(labels[drawn], right[drawn])[count > 0] / count[count > 0]).mean())

    everything = np.arange(len(labels))
    return Figure("top-1, mean over classes", mean(everything), *interval_of(mean, len(labels)))
