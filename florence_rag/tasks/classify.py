"""Classifies pictures by labels or by a trained probe, and trains probes, which are kept beside the index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from florence_rag.chunking import ChunkingConfig, read_image
from florence_rag.context import Context, Models
from florence_rag.datasets.images import ImageExample, read_labeled_images
from florence_rag.errors import InputError
from florence_rag.image_store import ImageInput, image_name, limit_image_detail, readable
from florence_rag.index.base import Filter
from florence_rag.tasks.classifier import Classified, Classifier, classify
from florence_rag.tasks.probe import SUFFIX, LinearProbe, check_name, train_probe
from florence_rag.tasks.zero_shot import ZeroShotClassifier
from florence_rag.types import Failure, Frame, Hit, Locator, middle_frame

_BATCH = 32
_IN_MEMORY = 1000
S = TypeVar("S")
T = TypeVar("T")
Look = Callable[[ImageInput], tuple[Hit, tuple[Frame, ...]]]
"""Opens a picture: where it is from, as a hit, and its frames, of which the middle one counts."""


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """A probe that was trained: its file, its accuracy on examples left out in turn (None where none could be), and
    what could not be read."""

    name: str
    file: str
    examples: dict[str, int]
    accuracy: float | None
    strength: float
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        failed = [{"source": failure.source, "reason": failure.reason} for failure in self.failed]
        facts = {name: getattr(self, name) for name in ("name", "file", "examples", "accuracy", "strength")}
        return {**facts, "failed": failed}


@dataclass(frozen=True, slots=True)
class Classification:
    """What was said of each picture, in their order, and the files that could not be read."""

    images: tuple[Classified, ...]
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        failed = [{"source": failure.source, "reason": failure.reason} for failure in self.failed]
        return {"images": [image.to_dict() for image in self.images], "failed": failed}


class Classifying:
    """Of one embedder. folder: where probes are kept by name; None where there is no such place. look: opens what is
    to be classified; by default it is a file or pixels."""

    def __init__(self, models: Models, folder: Path | None = None, look: Look | None = None) -> None:
        self._models = models
        self.folder = folder
        self._look = look or self._open

    def classifier(
        self, labels: Sequence[str] | None, probe: str | Path | None, prompts: Sequence[str] | None = None
    ) -> Classifier:
        """By labels alone, or by a probe that was trained; InputError unless one of them is given."""
        if (labels is None) == (probe is None):
            raise InputError("give either labels, such as cat and dog, or the name of a trained probe")
        if probe is not None:
            return self.open_probe(probe)
        return ZeroShotClassifier(self._models.embedder, labels or (), prompts=prompts)

    def pictures(self, classifier: Classifier, images: Iterable[ImageInput]) -> Classification:
        """What it says of each; those that cannot be read are reported."""
        failed: list[Failure] = []
        found: list[Classified] = []
        for hits, vectors in self._embedded(images, self._look, failed):
            said = zip(classify(classifier, vectors), hits, strict=True)
            found += [each.named(hit.source, hit.id) for each, hit in said]
        return Classification(tuple(found), tuple(failed))

    def train(self, data: str | Path, name: str) -> TrainedClassifier:
        """Train a probe on a data set and keep it under a name, in place of an older one of it."""
        path = self._path(name)
        failed: list[Failure] = []
        labels: list[str] = []
        parts = [np.zeros((0, self._models.embedder.info.dimension), np.float32)]
        pairs = read_labeled_images(data)
        for names, vectors in self._embedded(pairs, self._open_labeled, failed):
            labels += names
            parts.append(vectors)
        if not labels:
            raise InputError(f"none of the {len(pairs)} pictures of {str(data)!r} can be read: {failed[0].reason}")
        probe = train_probe(np.concatenate(parts), labels, self._models.embedder.info)
        probe.save(path)
        return TrainedClassifier(name, str(path), dict(probe.examples), probe.accuracy, probe.strength, tuple(failed))

    def open_probe(self, name: str | Path) -> LinearProbe:
        """By the name it was trained under, or its file."""
        path = Path(name).expanduser() if str(name).endswith(SUFFIX) else self._path(str(name))
        if not path.is_file():
            known = f"; there are {', '.join(self.names())}" if self.names() else ""
            raise InputError(
                f"there is no classifier {str(name)!r}{known}; train one with: florence-rag classify train"
            )
        return LinearProbe.load(path, self._models.embedder.info)

    def names(self) -> list[str]:
        """Of the probes that were trained."""
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}")) if self.folder else []

    def _path(self, name: str) -> Path:
        if name.endswith(SUFFIX):
            return Path(name).expanduser()
        if self.folder is None:
            raise InputError(
                f"a Milvus server has no folder for the classifier {name!r}: give the path of a file, {name}{SUFFIX}"
            )
        return self.folder / f"{check_name(name)}{SUFFIX}"

    def _embedded(
        self, items: Iterable[S], look: Callable[[S], tuple[T, tuple[Frame, ...]]], failed: list[Failure]
    ) -> Iterator[tuple[list[T], np.ndarray]]:
        """Batches of what is known of pictures, with the vectors of these; those that cannot be read are put down."""
        looked = readable(items, look, failed, _name)
        while batch := list(islice(looked, _BATCH)):
            frames = [middle_frame(each) for _, each in batch]
            yield [name for name, _ in batch], self._models.embedder.embed_images(frames)

    def _open(self, image: ImageInput) -> tuple[Hit, tuple[Frame, ...]]:
        config = limit_image_detail(ChunkingConfig(), self._models.embedder)
        frame = read_image(image, config.image_side_px, config.image_detail_px)
        return Hit("", "image", image_name(image), Locator(), 0.0), (frame,)

    def _open_labeled(self, picture: ImageExample) -> tuple[str, tuple[Frame, ...]]:
        return picture.label, self._open(picture.path)[1]


def classify_pictures(
    context: Context,
    classifying: Classifying,
    classifier: Classifier,
    images: Iterable[ImageInput] | None,
    filter: Filter | None,
) -> Classification:
    """Of images that are given, or of those of the index, whose vectors are there already."""
    if images is None:
        return Classification(tuple(_indexed(context, classifier, filter)))
    if filter is not None:
        raise InputError("a filter chooses among the images of the index: leave it out, or the images")
    if isinstance(images, str | Path | bytes):
        raise InputError(f"images is {images!r:.80}; give a list of pictures")
    return classifying.pictures(classifier, images)


def _indexed(context: Context, classifier: Classifier, filter: Filter | None) -> Iterator[Classified]:
    for hits in whole_images(context, filter):
        said = classify(classifier, context.index.vectors([hit.id for hit in hits]))
        yield from (each.named(hit.source, hit.id) for each, hit in zip(said, hits, strict=True))


def whole_images(context: Context, filter: Filter | None = None) -> Iterator[list[Hit]]:
    """The images of the index without their regions, by source, a thousand at a time."""
    found = context.index.find(kinds={"image"}, filter=filter)
    whole = iter(sorted((hit for hit in found if hit.locator.box is None), key=lambda hit: (hit.source, hit.id)))
    while some := list(islice(whole, _IN_MEMORY)):
        yield some


def _name(item: object) -> str:
    if isinstance(item, ImageExample):
        return str(item.path)
    return image_name(item)
