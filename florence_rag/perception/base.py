"""What a model may say of one picture: the results and the protocols that every reader and answerer keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from florence_rag.types import Box, Frame

Candidate = Literal["image", "text"]


@dataclass(frozen=True, slots=True)
class TextRegion:
    """One line of text read in a picture. confidence in [0, 1]."""

    text: str
    box: Box
    confidence: float


@runtime_checkable
class OCRReader(Protocol):
    """Reads the words in a picture."""

    def read(self, frame: Frame) -> list[TextRegion]:
        """The lines of text in reading order; empty where there are none."""
        ...


@dataclass(frozen=True, slots=True)
class VQAResult:
    """The answer to a question about one picture.

    confidence in [0, 1], or None where the model gives none. candidates: answers with their confidence, best first.
    remembered: where the answer comes from if nobody looked, in one line.
    """

    answer: str
    confidence: float | None
    candidates: tuple[tuple[str, float], ...]
    remembered: str = ""


@dataclass(frozen=True, slots=True)
class Detection:
    """A part of a picture and what is said of it.

    confidence in [0, 1], or None where the model gives none. polygons: outlines as (x, y) points in [0, 1], if wanted.
    """

    label: str
    box: Box
    confidence: float | None = None
    polygons: tuple[tuple[tuple[float, float], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """Something that happens in a video from start_s to end_s.

    confidence in [0, 1]. attributes: what else is known of it, such as {"object": "bus", "color": "purple"}.
    """

    label: str
    start_s: float
    end_s: float
    confidence: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Where in a picture a model looked for the answer to a question.

    weights: (rows, columns) float32 that sum to 1. view: the part of the picture that they cover, all of it but for
    models that crop. box: the region of the picture around the largest weight.
    """

    weights: np.ndarray
    box: Box
    view: Box = (0.0, 0.0, 1.0, 1.0)


@runtime_checkable
class VisualQA(Protocol):
    """Answers questions about pictures."""

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """Answer one question about one picture."""
        ...


class BatchVQA(Protocol):
    """Answers questions about pictures, several at a time."""

    def answer_many(self, frames: Sequence[Frame], questions: Sequence[str]) -> list[VQAResult]:
        """Answer question i about frame i."""
        ...


@runtime_checkable
class AttentionVQA(Protocol):
    """Shows where in a picture it looks to answer a question."""

    def look(self, frame: Frame, question: str) -> Attention:
        """Where the answer to one question about one picture comes from."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Finds the things in pictures."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Per frame the objects, labelled with their category."""
        ...


@runtime_checkable
class ActionRecognizer(Protocol):
    """Says what happens in videos, and when."""

    @property
    def rate_hz(self) -> float:
        """How many pictures of a second it looks at."""
        ...

    def recognize(self, frames: Iterable[tuple[float, Frame]], end_s: float | None = None) -> list[Action]:
        """What happens in one shot, in order of time, told from (seconds, picture); end_s: where the last one ends."""
        ...

    def sentence(self, action: Action) -> str:
        """The action in words."""
        ...


@runtime_checkable
class Grounder(Protocol):
    """Finds what it is told to look for."""

    def locate(self, frame: Frame, thing: str) -> list[Detection]:
        """Where a thing is that is named in words; empty where it is not found."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Draws the outlines of what it is told to look for."""

    def segment(self, frame: Frame, expression: str) -> Detection | None:
        """What an expression such as "the left cat" refers to, with its polygons; None where it draws none."""
        ...


@runtime_checkable
class Matcher(Protocol):
    """Judges whether a text fits a picture."""

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """(N,) float32 in [0, 1]: the probability that text i fits frame i. Both sequences have length N."""
        ...


@runtime_checkable
class Captioner(Protocol):
    """Says in words what a picture shows."""

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """One caption per frame."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Looks at a query and a candidate together, which tells more than two vectors that never met."""

    @property
    def reads(self) -> frozenset[Candidate]:
        """What it can score: pictures, passages, or both."""
        ...

    def score(self, query: str, candidates: Sequence[Frame | str]) -> np.ndarray:
        """(N,) float32 in [0, 1], one per candidate, a picture or a passage; larger fits better.

        A candidate that it does not read is an InputError.
        """
        ...
