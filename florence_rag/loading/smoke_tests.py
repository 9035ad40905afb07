"""Use a model of each role once: damaged settings of its processor or its generation show only then."""

from __future__ import annotations

import numpy as np

from florence_rag.embedding.base import Embedder, TextEmbedder
from florence_rag.errors import ModelError
from florence_rag.perception import base as perception

_FRAME = np.full((48, 64, 3), 128, dtype=np.uint8)
_QUESTION = "What is this?"
_PHRASE = "a dog"


def embed(model: Embedder) -> None:
    """Embed an image and a text."""
    _check_finite(model.embed_images([_FRAME]), model.embed_texts([_PHRASE]))


def embed_texts(model: TextEmbedder) -> None:
    """Embed a text."""
    _check_finite(model.embed_texts([_PHRASE]))


def answer(model: perception.VisualQA) -> None:
    """Answer a question."""
    model.answer(_FRAME, _QUESTION)


def attend(model: perception.AttentionVQA) -> None:
    """Show what an answer comes from."""
    model.attention_map(_FRAME, _QUESTION)


def match(model: perception.Matcher) -> None:
    """Match a text with an image."""
    _check_finite(model.match([_FRAME], [_PHRASE]))


def caption(model: perception.Captioner) -> None:
    """Write a caption."""
    model.caption([_FRAME])


def detect(model: perception.Detector) -> None:
    """Find objects."""
    model.detect([_FRAME])


def ground(model: perception.Grounder) -> None:
    """Find what a phrase names."""
    model.locate(_FRAME, _PHRASE)


def segment(model: perception.Segmenter) -> None:
    """Outline what a phrase names."""
    model.segment(_FRAME, _PHRASE)


def recognize(model: perception.ActionRecognizer) -> None:
    """Find actions in a clip of one frame."""
    model.recognize([(0.0, _FRAME)])


def score(model: perception.Reranker) -> None:
    """Score a candidate."""
    _check_finite(model.score(_PHRASE, [_FRAME if "image" in model.reads else _PHRASE]))


def _check_finite(*results: np.ndarray) -> None:
    if not all(np.isfinite(each).all() for each in results):
        raise ModelError("its results are not finite numbers")
