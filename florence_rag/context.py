"""What the parts of an index share: the index, the models, and the store of images."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from florence_rag.embedding.base import Embedder, TextEmbedder
from florence_rag.errors import ModelError
from florence_rag.image_store import ImageStore
from florence_rag.index.base import ChunkIndex
from florence_rag.perception import base as perception
from florence_rag.types import Hit

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class LazyValue(Generic[T_co]):
    """A value that the first call of `get` creates, once, even if several threads call it.

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
        """Return the value, the same object in every call, creating it first if necessary."""
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
    vqa: LazyValue[perception.VisualQA] | None = None
    attention_vqa: LazyValue[perception.AttentionVQA] | None = None
    matcher: LazyValue[perception.Matcher] | None = None
    captioner: LazyValue[perception.Captioner] | None = None
    detector: LazyValue[perception.Detector] | None = None
    grounder: LazyValue[perception.Grounder] | None = None
    segmenter: LazyValue[perception.Segmenter] | None = None
    action_recognizer: LazyValue[perception.ActionRecognizer] | None = None
    ocr_reader: LazyValue[perception.OCRReader] | None = None
    reranker: perception.Reranker | None = None

    @classmethod
    def of(
        cls,
        embedder: Embedder,
        *,
        text_embedder: TextEmbedder | None = None,
        vqa: perception.VisualQA | None = None,
        matcher: perception.Matcher | None = None,
        captioner: perception.Captioner | None = None,
        detector: perception.Detector | None = None,
        action_recognizer: perception.ActionRecognizer | None = None,
        ocr_reader: perception.OCRReader | None = None,
        reranker: perception.Reranker | None = None,
    ) -> Models:
        """Hold models that are already loaded.

        The arguments are those of the class. A model that implements several protocols also fills the roles without a
        model: a VQA model may match texts and show its attention, a captioner may detect, ground and segment.
        """
        finders: tuple[object, ...] = (detector, captioner, vqa)
        return cls(
            embedder,
            text_embedder,
            vqa=_optional(vqa),
            attention_vqa=_optional(vqa if isinstance(vqa, perception.AttentionVQA) else None),
            matcher=_optional(matcher or (vqa if isinstance(vqa, perception.Matcher) else None)),
            captioner=_optional(captioner),
            detector=_optional(next((each for each in finders if isinstance(each, perception.Detector)), None)),
            grounder=_optional(next((each for each in finders if isinstance(each, perception.Grounder)), None)),
            segmenter=_optional(next((each for each in finders[:2] if isinstance(each, perception.Segmenter)), None)),
            action_recognizer=_optional(action_recognizer),
            ocr_reader=_optional(ocr_reader),
            reranker=reranker,
        )

    def require_vqa(self) -> LazyValue[perception.VisualQA]:
        """Return the model that answers questions about images, or raise a ModelError if there is none."""
        if self.vqa is None:
            raise ModelError(
                "answering needs a model for questions about images: name one with vqa=..., or florence-rag ask --vqa; "
                "`florence-rag models` lists them"
            )
        return self.vqa

    def require_captioner(self) -> LazyValue[perception.Captioner]:
        """Return the model that writes captions, or raise a ModelError if there is none."""
        if self.captioner is None:
            raise ModelError(
                "describing needs a captioner: name one with captioner=...; `florence-rag models` lists them"
            )
        return self.captioner


@dataclass(frozen=True)
class Context:
    """What every part below the facade receives: an index with its models and its images.

    Args:
        index: The stored chunks.
        models: The models. Read them when they are used, since the embedder can be replaced.
        images: The images that belong to no file, and the frames of hits.
        observe: Receives all hits before they are returned or answered about.
    """

    index: ChunkIndex
    models: Models
    images: ImageStore
    observe: Callable[[Sequence[Hit]], None] = lambda hits: None


def _optional(model: T | None) -> LazyValue[T] | None:
    return None if model is None else loaded(model)
