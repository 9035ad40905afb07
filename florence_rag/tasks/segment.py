"""Outlines what a text refers to in an image."""

from florence_rag.chunking import ImageInput
from florence_rag.context import Context, Models
from florence_rag.errors import ModelError
from florence_rag.models.registry import CARDS
from florence_rag.perception.base import Detection, Segmenter
from florence_rag.types import middle_frame

NO_SEGMENTER = "no model here can segment; name one that can as detector or captioner: " + ", ".join(
    card.name for card in CARDS.values() if card.family == "florence-2"
)


def require_segmenter(models: Models) -> Segmenter:
    """Return the model that segments; raise ModelError if there is none."""
    if models.segmenter is None:
        raise ModelError(NO_SEGMENTER)
    return models.segmenter.get()


def segment_image(context: Context, image: ImageInput, text: str) -> Detection | None:
    """Return the outlines of what a text refers to in an image, as `FlorenceRAG.segment` does."""
    _, frames = context.images.resolve(image)
    return require_segmenter(context.models).segment(middle_frame(frames), text)
