"""Which of the models at hand draws outlines, and those that could."""

from __future__ import annotations

from florence_rag.errors import ModelError
from florence_rag.models.registry import CARDS
from florence_rag.perception.base import Segmenter


def segmenter_among(*models: object) -> Segmenter | None:
    """The first that can."""
    return next((model for model in models if isinstance(model, Segmenter)), None)


def require_segmenter(*models: object) -> Segmenter:
    """The first that can; ModelError where none does."""
    if found := segmenter_among(*models):
        return found
    able = ", ".join(card.name for card in CARDS.values() if card.family == "florence-2")
    raise ModelError(f"no model that is open draws outlines; name one that can to detector or captioner: {able}")
