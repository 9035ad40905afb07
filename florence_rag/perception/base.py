"""The results of models that read images and videos, and the protocols of these models.

Images are RGB frames (H, W, 3) uint8 of any sizes. All boxes and points are in [0, 1] of the image: (left, top, right,
bottom) and (x, y).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from florence_rag.errors import InputError
from florence_rag.types import Box, Frame
from florence_rag.validation import validate_arguments

Candidate = Literal["image", "text"]


@validate_arguments
@dataclass(frozen=True, slots=True)
class TextRegion:
    """One line of text in an image.

    Args:
        text: The characters of the line.
        box: The upright box around it.
        confidence: How sure the reader is, in [0, 1].
    """

    text: str
    box: Box
    confidence: float


@runtime_checkable
class OCRReader(Protocol):
    """Reads the text in images."""

    def read(self, frame: Frame) -> list[TextRegion]:
        """Read the text in one image.

        Args:
            frame: An RGB image (H, W, 3) uint8.

        Returns:
            The lines of text in reading order; empty if there is no text.
        """
        ...


@validate_arguments
@dataclass(frozen=True, slots=True)
class VQAResult:
    """The answer to a question about one image.

    Args:
        answer: The answer; empty if the model gives none.
        confidence: How sure the model is, in [0, 1]; None if it does not say.
        candidates: Answers with their confidence, best first.
        cached_from: One line about the origin of a cached answer; empty if the model was asked.
    """

    answer: str
    confidence: float | None
    candidates: tuple[tuple[str, float], ...]
    cached_from: str = ""

    @classmethod
    def ranked(cls, candidates: Sequence[tuple[str, float]]) -> VQAResult:
        """Return a result whose answer is the first of the candidates; it is empty if there are none."""
        answer, confidence = candidates[0] if candidates else ("", 0.0)
        return cls(answer, confidence, tuple(candidates))


@dataclass(frozen=True, slots=True)
class Detection:
    """An object, or another part of an image, that a model found.

    Args:
        label: The category or a description; empty if the model gives none.
        box: The box around the object.
        confidence: How sure the model is, in [0, 1]; None if it does not say.
        polygons: The outlines, each as a sequence of points; empty if the model draws none.
    """

    label: str
    box: Box
    confidence: float | None = None
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """An action in a video.

    Args:
        label: The name of the action.
        start_s: The start in seconds.
        end_s: The end in seconds.
        confidence: How sure the model is, in [0, 1].
        attributes: Further properties, such as {"thing": "bus", "color": "purple"}.
    """

    label: str
    start_s: float
    end_s: float
    confidence: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """Which parts of an image the answer to a question comes from.

    Args:
        weights: (rows, columns) float32, not negative, with the sum 1.
        box: The region of the image around the largest weight.
        view: The part of the image that the weights cover: all of it, except for models that crop.
    """

    weights: np.ndarray
    box: Box
    view: Box = (0.0, 0.0, 1.0, 1.0)


@runtime_checkable
class VisualQA(Protocol):
    """Answers questions about images."""

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about one image.

        Args:
            frame: An RGB image (H, W, 3) uint8.
            question: The question, not empty.

        Returns:
            The answer and its confidence.

        Raises:
            InputError: If the question is empty or too long.
            ModelError: If a service fails.
        """
        ...


@runtime_checkable
class AttentionVQA(VisualQA, Protocol):
    """A `VisualQA` that shows which parts of an image an answer comes from."""

    def attention_map(self, frame: Frame, question: str) -> AttentionMap:
        """Return the attention of the model over the image while it answers a question, which must not be empty."""
        ...


@runtime_checkable
class LimitedVocabulary(Protocol):
    """A model that was trained with certain words only, and answers at random about others."""

    def knows(self, text: str) -> bool:
        """Return whether the model knows all words of a text."""
        ...


def knows(model: object, text: str) -> bool:
    """Return whether a model knows all words of a text, as far as it can tell."""
    return not isinstance(model, LimitedVocabulary) or model.knows(text)


@runtime_checkable
class Detector(Protocol):
    """Finds the objects in images."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Return for each image the objects of all categories that the model knows, labeled with their category."""
        ...


@runtime_checkable
class Grounder(Protocol):
    """Finds an object that a text names."""

    def locate(self, frame: Frame, phrase: str) -> list[Detection]:
        """Find an object by its name.

        Args:
            frame: The image.
            phrase: The object in a few words, such as "the blue car".

        Returns:
            The places of the object; empty if it is not found.

        Raises:
            InputError: If the text is empty.
        """
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Outlines an object that a text names."""

    def segment(self, frame: Frame, phrase: str) -> Detection | None:
        """Outline an object.

        Args:
            frame: The image.
            phrase: The object in a few words, such as "the left cat".

        Returns:
            The object with its polygons; None if the model draws no outline.

        Raises:
            InputError: If the text is empty.
        """
        ...


@runtime_checkable
class ActionRecognizer(Protocol):
    """Finds actions in videos."""

    @property
    def fps(self) -> float:
        """The number of frames per second that the model reads."""
        ...

    def recognize(self, frames: Iterable[tuple[float, Frame]], end_s: float | None = None) -> list[Action]:
        """Find the actions in one shot.

        Args:
            frames: The frames in order, each with its time in seconds; about `fps` frames per second.
            end_s: The time at which the last frame ends. By default it lasts as long as the rate says.

        Returns:
            The actions in order of time; empty if there are none.
        """
        ...

    def sentence(self, action: Action) -> str:
        """Describe an action in a sentence or a phrase, such as "a purple bus leaves to the right"."""
        ...


@runtime_checkable
class Matcher(Protocol):
    """Scores how well texts fit images."""

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """Score pairs of images and texts.

        Args:
            frames: N RGB images (H, W, 3) uint8.
            texts: N texts.

        Returns:
            (N,) float32 in [0, 1]: the probability that text i fits image i.

        Raises:
            InputError: If the numbers of images and texts differ.
        """
        ...


@runtime_checkable
class Captioner(Protocol):
    """Describes images in words."""

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """Write one caption per image; it is empty if the model generates none."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Scores a query and a candidate together, which is more accurate than comparing their vectors."""

    @property
    def reads(self) -> frozenset[Candidate]:
        """The kinds of candidates that it can score."""
        ...

    def score(self, query: str, candidates: Sequence[Frame | str]) -> np.ndarray:
        """Score candidates for a query.

        Args:
            query: The query, not empty.
            candidates: N RGB images (H, W, 3) uint8 or texts, of the kinds in `reads`.

        Returns:
            (N,) float32 in [0, 1]; a larger score means a better fit.

        Raises:
            InputError: If the query is empty, or a candidate is of another kind.
        """
        ...


class Classifier(Protocol):
    """Assigns classes to images by their vectors."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes."""
        ...

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return (N, labels) float32 whose rows sum to one, for the unit vectors (N, D) of images."""
        ...


class MatcherReranker:
    """A `Reranker` of images: the score is the probability of a matcher that the query describes the image."""

    reads: frozenset[Candidate] = frozenset({"image"})

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    def score(self, query: str, candidates: Sequence[Frame | str]) -> np.ndarray:
        """Score RGB images (H, W, 3) uint8: (N,) float32 in [0, 1]."""
        frames = [candidate for candidate in candidates if not isinstance(candidate, str)]
        if len(frames) < len(candidates):
            raise InputError("a matcher reads images only; rerank passages with a cross-encoder")
        return np.asarray(self._matcher.match(frames, [query] * len(frames)), dtype=np.float32)
