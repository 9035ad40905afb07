"""Finds the model of an index that segments."""

from florence_rag.context import Models
from florence_rag.errors import ModelError
from florence_rag.models.registry import CARDS
from florence_rag.perception.base import Segmenter

NO_SEGMENTER = "no model here can segment; name one that can as detector or captioner: " + ", ".join(
    card.name for card in CARDS.values() if card.family == "florence-2"
)


def require_segmenter(models: Models) -> Segmenter:
    """Return the model that segments; raise ModelError if there is none."""
    if models.segmenter is None:
        raise ModelError(NO_SEGMENTER)
    return models.segmenter.get()
