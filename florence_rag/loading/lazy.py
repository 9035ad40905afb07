"""Parts of a FlorenceRAG that open their models when they are first used: a search needs no captioner."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from florence_rag.perception.base import (
    Action,
    ActionRecognizer,
    AttentionMap,
    AttentionVQA,
    Captioner,
    Detection,
    Detector,
    Matcher,
    OCRReader,
    TextRegion,
    VisualQA,
    VQAResult,
)
from florence_rag.types import Frame

if TYPE_CHECKING:
    from florence_rag.perception.florence2 import Florence2

Part = TypeVar("Part")


class LazyValue(Generic[Part]):
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


class Lazy(Generic[Part]):
    """A part that does what its model does, which is opened for the first call."""

    def __init__(self, open_part: Callable[[], Part]) -> None:
        self._part = LazyValue(open_part)

    def load(self) -> None:
        """Now, so that a model that is not to be had fails the run and not each of its files."""
        self._part()


class LazyVQA(Lazy[VisualQA]):
    """A VisualQA that is loaded with the first question: searching does not need it."""

    def answer(self, frame: Frame, question: str) -> VQAResult:
        """As the loaded model answers."""
        return self._part().answer(frame, question)


class LazyMeterVQA(LazyVQA):
    """One that can also show where it looks."""

    def attention_map(self, frame: Frame, question: str) -> AttentionMap:
        """As the loaded model looks."""
        vqa = self._part()
        assert isinstance(vqa, AttentionVQA)
        return vqa.attention_map(frame, question)


class LazyMatcher(Lazy[Matcher]):
    """A Matcher that is loaded with the first pair."""

    def match(self, frames: Sequence[Frame], texts: Sequence[str]) -> np.ndarray:
        """As the loaded model judges."""
        return self._part().match(frames, texts)


class LazyOCRReader(Lazy[OCRReader]):
    """A OCRReader that is loaded with the first picture."""

    def read(self, frame: Frame) -> list[TextRegion]:
        """As the loaded reader reads."""
        return self._part().read(frame)


class LazyCaptioner(Lazy[Captioner]):
    """A Captioner that is loaded before the first run with anything to index."""

    def caption(self, frames: Sequence[Frame]) -> list[str]:
        """As the loaded model says."""
        return self._part().caption(frames)


class LazyDetector(Lazy[Detector]):
    """A Detector that is loaded with the first picture, or before the first run with anything to index."""

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """As the loaded model finds them."""
        return self._part().detect(frames)


class LazyRecognizer(Lazy[ActionRecognizer]):
    """An ActionRecognizer that is loaded with the first clip, or before the first run with anything to index."""

    @property
    def rate_hz(self) -> float:
        """As the loaded model looks."""
        return self._part().rate_hz

    def recognize(self, frames: Iterable[tuple[float, Frame]], end_s: float | None = None) -> list[Action]:
        """As the loaded model sees it."""
        return self._part().recognize(frames, end_s)

    def sentence(self, action: Action) -> str:
        """As the loaded model says it."""
        return self._part().sentence(action)


class LazyFlorence2(LazyCaptioner):
    """One that can also find, outline and read things: see perception/florence2.py."""

    def __init__(self, open_captioner: Callable[[], Captioner], name: str) -> None:
        super().__init__(open_captioner)
        self.name = name

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """As the loaded model finds them."""
        return self._florence2().detect(frames)

    def locate(self, frame: Frame, thing: str) -> list[Detection]:
        """As the loaded model finds it."""
        return self._florence2().locate(frame, thing)

    def ground(self, frame: Frame, caption: str) -> list[Detection]:
        """Where the things are that a caption names, labelled with its phrases."""
        return self._florence2().ground(frame, caption)

    def segment(self, frame: Frame, expression: str) -> Detection | None:
        """The outlines of what an expression refers to; None where the model draws none."""
        return self._florence2().segment(frame, expression)

    def describe_regions(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Per frame the regions worth a word, labelled with a short description."""
        return self._florence2().describe_regions(frames)

    def propose_regions(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """Per frame where something is, without labels."""
        return self._florence2().propose_regions(frames)

    def read(self, frame: Frame) -> list[TextRegion]:
        """The lines of text in the order the model reads them."""
        return self._florence2().read(frame)

    def _florence2(self) -> Florence2:
        from florence_rag.perception.florence2 import Florence2

        model = self._part()
        assert isinstance(model, Florence2)
        return model
