"""Classifies images by labels or by a trained classifier, and trains classifiers, stored next to the index."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from florence_rag.batching import batched
from florence_rag.chunking import ChunkingConfig, ImageInput, read_image
from florence_rag.context import Context, Models
from florence_rag.datasets.images import read_labeled_images
from florence_rag.errors import InputError
from florence_rag.image_store import Resolve, image_name, limit_image_detail, readable
from florence_rag.index.base import Filter, with_vectors
from florence_rag.perception.base import Classifier
from florence_rag.tasks.classifier import Classified, ZeroShotClassifier, classify
from florence_rag.tasks.probe import SUFFIX, LinearProbe, check_name, train_probe
from florence_rag.text_arguments import to_path
from florence_rag.types import Failure, Frame, Hit, Locator, middle_frame
from florence_rag.validation import validate_arguments

_BATCH = 32
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class TrainedClassifier:
    """The result of training a classifier.

    Args:
        name: Its name.
        file: Its file.
        examples: The number of examples per label.
        accuracy: The cross-validated accuracy, in [0, 1]; None if a label has only one example.
        strength: The inverse regularization strength.
        failed: The files that could not be read.
    """

    name: str
    file: str
    examples: dict[str, int]
    accuracy: float | None
    strength: float
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        return {**asdict(self), "failed": [asdict(failure) for failure in self.failed]}


@dataclass(frozen=True, slots=True)
class Classification:
    """The classes of images, in their order.

    Args:
        images: One result per image that could be read.
        failed: The files that could not be read.
    """

    images: tuple[Classified, ...]
    failed: tuple[Failure, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-ready values."""
        images = [image.to_dict() for image in self.images]
        return {"images": images, "failed": [asdict(failure) for failure in self.failed]}


@validate_arguments
class Classifiers:
    """Trains classifiers for the features of an embedder, stores them by name, and applies them.

    Args:
        models: The models, of which the embedder is used.
        folder: Where classifiers are stored; None if there is no such folder.
        resolve: Loads the images to classify; by default from files or pixels.
    """

    def __init__(self, models: Models, folder: Path | None = None, resolve: Resolve | None = None) -> None:
        self._models = models
        self.folder = folder
        self._resolve = resolve or self._read

    def get(
        self, labels: Sequence[str] | None, name: str | Path | None, prompts: Sequence[str] | None = None
    ) -> Classifier:
        """Return the classifier for labels, or the trained one of a name or file.

        Raises:
            InputError: Unless exactly one of labels and name is given, or if there is no such classifier.
        """
        if (labels is None) == (name is None):
            raise InputError("give either labels, such as cat and dog, or the name of a trained classifier")
        if name is not None:
            return self.load(name)
        return ZeroShotClassifier(self._models.embedder, labels or (), prompts=prompts)

    def classify(self, classifier: Classifier, images: Iterable[ImageInput]) -> Classification:
        """Classify images; those that cannot be read are listed in the result."""
        failed: list[Failure] = []
        classified: list[Classified] = []
        for hits, vectors in self._embedded(images, self._resolve, failed):
            classified += classify(classifier, vectors, hits)
        return Classification(tuple(classified), tuple(failed))

    def train(self, data: str | Path, name: str) -> TrainedClassifier:
        """Train a linear probe on labeled images, and store it under a name in place of an older one.

        Args:
            data: A folder with one folder of images per class, or a CSV or JSON Lines file of paths and labels.
            name: The name of the classifier, or the path of a file ending in .safetensors.

        Raises:
            InputError: If the data has fewer than two classes, or no image can be read.
            MissingExtraError: If the extra `adapters` is not installed.
        """
        path = self._path(name)
        failed: list[Failure] = []
        label_of = {str(example.path): example.label for example in read_labeled_images(data)}
        batches = list(self._embedded(map(Path, label_of), self._read, failed))
        if not batches:
            raise InputError(f"none of the {len(label_of)} images of {str(data)!r} can be read: {failed[0].reason}")
        labels = [label_of[hit.source] for hits, _ in batches for hit in hits]
        probe = train_probe(np.concatenate([rows for _, rows in batches]), labels, self._models.embedder.info)
        probe.save(path)
        return TrainedClassifier(name, str(path), dict(probe.examples), probe.accuracy, probe.strength, tuple(failed))

    def load(self, name: str | Path) -> LinearProbe:
        """Load a trained classifier by its name or file.

        Raises:
            InputError: If there is none.
            ModelError: If the file is damaged, or was trained on features of another embedder.
        """
        path = self._path(str(name))
        if not path.is_file():
            known = f"; there are {', '.join(self.names())}" if self.names() else ""
            raise InputError(
                f"there is no classifier {str(name)!r}{known}; train one with: florence-rag classify train"
            )
        return LinearProbe.load(path, self._models.embedder.info)

    def names(self) -> list[str]:
        """Return the names of the stored classifiers, sorted."""
        return sorted(path.stem for path in self.folder.glob(f"*{SUFFIX}")) if self.folder else []

    def _path(self, name: str) -> Path:
        if name.endswith(SUFFIX):
            return to_path(name)
        if self.folder is None:
            raise InputError(
                f"a Milvus server has no folder for the classifier {name!r}: give the path of a file, {name}{SUFFIX}"
            )
        return self.folder / f"{check_name(name)}{SUFFIX}"

    def _embedded(
        self, images: Iterable[ImageInput], resolve: Resolve, failed: list[Failure]
    ) -> Iterator[tuple[list[Hit], np.ndarray]]:
        """Yield batches of images, as hits, with their vectors, and append those that cannot be read to `failed`."""
        for batch in batched(readable(images, resolve, failed, image_name), _BATCH):
            vectors = self._models.embedder.embed_images([middle_frame(frames) for _, frames in batch])
            yield [hit for hit, _ in batch], vectors

    def _read(self, image: ImageInput) -> tuple[Hit, tuple[Frame, ...]]:
        config = limit_image_detail(ChunkingConfig(), self._models.embedder)
        frame = read_image(image, config.image_side_px, config.image_detail_px)
        return Hit("", "image", image_name(image), Locator(), 0.0), (frame,)


def classify_images(
    context: Context,
    classifiers: Classifiers,
    classifier: Classifier,
    images: Iterable[ImageInput] | None,
    filter: Filter | None,
) -> Classification:
    """Classify images, or for None those of the index, whose vectors are stored."""
    if images is None:
        classified: list[Classified] = []
        for hits in whole_images(context, filter):
            kept, vectors = with_vectors(context.index, hits)
            classified += classify(classifier, vectors, kept)
        return Classification(tuple(classified))
    if filter is not None:
        raise InputError("a filter chooses among the images of the index: give either a filter or images")
    if isinstance(images, str | Path | bytes):
        raise InputError(f"images is {images!r:.80}; give a list of images")
    return classifiers.classify(classifier, images)


def whole_images(context: Context, filter: Filter | None = None) -> Iterator[list[Hit]]:
    """Yield the images of the index without their regions, by source, a thousand at a time."""
    hits = context.index.find(kinds={"image"}, filter=filter)
    whole = sorted((hit for hit in hits if hit.locator.box is None), key=lambda hit: (hit.source, hit.id))
    yield from batched(whole, _PAGE)
