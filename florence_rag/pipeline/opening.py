"""The parts that FlorenceRAG.open names: models by their cards, loaded when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np

from florence_rag.embedding.base import Embedder
from florence_rag.models.cards import find_model
from florence_rag.perception.base import TextReader, TextRegion, VisualQA, VQAResult
from florence_rag.types import Frame

Part = TypeVar("Part")


def open_embedder(name: str) -> Embedder:
    """The embedder of a model; ModelError for an unknown name."""
    card = find_model(name)
    folder = card.florence
    from florence_rag.embedding.florence import FlorenceEmbedder

    return FlorenceEmbedder.from_pretrained(folder, card.name)


def open_vqa(name: str) -> VisualQA:
    """The question-answering model of a model; ModelError where it has none."""
    folder = find_model(name).meter
    from florence_rag.perception.meter import MeterVQA

    return MeterVQA.from_pretrained(folder)


def open_reader() -> TextReader:
    """The reader of words in pictures."""
    from florence_rag.perception.ocr import RapidOcrReader

    return RapidOcrReader()


class OnFirstUse(Generic[Part]):
    """Opens a part when it is first asked for, once, whichever thread asks."""

    def __init__(self, open_part: Callable[[], Part]) -> None:
        self._open = open_part
        self._part: Part | None = None
        self._lock = threading.Lock()

    def __call__(self) -> Part:
        """The part."""
        with self._lock:
            if self._part is None:
                self._part = self._open()
            return self._part


class LazyVQA:
    """A VisualQA that is loaded with the first question: searching does not need it."""

    def __init__(self, open_vqa: Callable[[], VisualQA]) -> None:
        self._vqa = OnFirstUse(open_vqa)

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """As the loaded model answers."""
        return self._vqa().answer(frame, question)

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """As the loaded model judges."""
        return self._vqa().match(frames, texts)


class LazyReader:
    """A TextReader that is loaded with the first picture."""

    def __init__(self, open_reader: Callable[[], TextReader]) -> None:
        self._reader = OnFirstUse(open_reader)

    def read(self, frame: Frame) -> list[TextRegion]:
        """As the loaded reader reads."""
        return self._reader().read(frame)
