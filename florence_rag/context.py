"""What the parts of an index share: the index, the models, and the store of images."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from florence_rag.embedding.base import Embedder, TextEmbedder
from florence_rag.errors import ModelError
from florence_rag.image_store import ImageStore
from florence_rag.index.base import ChunkIndex
from florence_rag.perception.base import (
    ActionRecognizer,
    AttentionVQA,
    Captioner,
    Detector,
    Grounder,
    Matcher,
    OCRReader,
    Reranker,
    Segmenter,
    VisualQA,
)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class LazyValue(Generic[T_co]):
    """A value that is created by the first call of `get`, once, even if several threads call it.

    Args:
        load: Creates the value. If it raises, the next `get` calls it again.
        name: The name of a model, under which its answers are cached.
    """

    def __init__(self, load: Callable[[], T_co], name: str = "") -> None:
        self.name = name
        self._load = load
        self._value: T_co | None = None
        self._lock = threading.Lock()

    def get(self) -> T_co:
        """Return the value, creating it first if necessary.

        Returns:
            The same object in every call.
        """
        with self._lock:
            if self._value is None:
                self._value = self._load()
            return self._value


def loaded(value: T) -> LazyValue[T]:
    """Hold a value that exists already."""
    return LazyValue(lambda: value)


@dataclass
class Models:
    """The models of an index. Everything except the embedder is optional.

    The embedders and the reranker are loaded. The others are lazy, because a search needs none of them: test for None
    to learn whether a role is filled, and call `get` where the model is used.

    Args:
        embedder: Turns images and queries into vectors. Assign another one to replace it everywhere.
        text_embedder: Embeds captions, texts and OCR text in a space of its own.
        vqa: Answers questions about images.
        attention_vqa: The same model, if it can show which part of an image an answer comes from.
        matcher: Scores how well a text fits an image.
        captioner: Writes captions.
        detector: Finds the objects in images.
        grounder: Finds an object that is named in a text.
        segmenter: Outlines an object that is named in a text.
        action_recognizer: Finds actions in videos.
        ocr_reader: Reads text in images.
        reranker: Scores the best hits of a search again.
    """

    embedder: Embedder
    text_embedder: TextEmbedder | None = None
    vqa: LazyValue[VisualQA] | None = None
    attention_vqa: LazyValue[AttentionVQA] | None = None
    matcher: LazyValue[Matcher] | None = None
    captioner: LazyValue[Captioner] | None = None
    detector: LazyValue[Detector] | None = None
    grounder: LazyValue[Grounder] | None = None
    segmenter: LazyValue[Segmenter] | None = None
    action_recognizer: LazyValue[ActionRecognizer] | None = None
    ocr_reader: LazyValue[OCRReader] | None = None
    reranker: Reranker | None = None

    @classmethod
    def of(
        cls,
        embedder: Embedder,
        *,
        text_embedder: TextEmbedder | None = None,
        vqa: VisualQA | None = None,
        matcher: Matcher | None = None,
        captioner: Captioner | None = None,
        detector: Detector | None = None,
        action_recognizer: ActionRecognizer | None = None,
        ocr_reader: OCRReader | None = None,
        reranker: Reranker | None = None,
    ) -> Models:
        """Hold models that are already loaded.

        The arguments are those of the class. A model that implements several protocols also fills roles that are not
        given: a VQA model may match texts and show its attention, a captioner may detect, ground and segment.
        """
        finders: tuple[object, ...] = (detector, captioner, vqa)
        return cls(
            embedder,
            text_embedder,
            vqa=_optional(vqa),
            attention_vqa=_optional(vqa if isinstance(vqa, AttentionVQA) else None),
            matcher=_optional(matcher or (vqa if isinstance(vqa, Matcher) else None)),
            captioner=_optional(captioner),
            detector=_optional(next((each for each in finders if isinstance(each, Detector)), None)),
            grounder=_optional(next((each for each in finders if isinstance(each, Grounder)), None)),
            segmenter=_optional(next((each for each in finders[:2] if isinstance(each, Segmenter)), None)),
            action_recognizer=_optional(action_recognizer),
            ocr_reader=_optional(ocr_reader),
            reranker=reranker,
        )

    def require_vqa(self) -> LazyValue[VisualQA]:
        """Return the model that answers questions about images.

        Raises:
            ModelError: If there is none.
        """
        return _required(
            self.vqa, "answering needs a model for questions about images: name one with vqa=..., or --vqa"
        )

    def require_captioner(self) -> LazyValue[Captioner]:
        """Return the model that writes captions.

        Raises:
            ModelError: If there is none.
        """
        return _required(self.captioner, "describing needs a captioner: name one with captioner=..., or --captioner")


@dataclass(frozen=True)
class Context:
    """What every part below the facade receives: an index with its models and its images.

    Args:
        index: The stored chunks.
        models: The models. Read them when they are used, since the embedder can be replaced.
        images: The images that belong to no file, and the frames of hits.
    """

    index: ChunkIndex
    models: Models
    images: ImageStore


def _required(model: LazyValue[T] | None, problem: str) -> LazyValue[T]:
    if model is None:
        raise ModelError(f"{problem}; `florence-rag models` lists them")
    return model


def _optional(model: T | None) -> LazyValue[T] | None:
    return None if model is None else loaded(model)
