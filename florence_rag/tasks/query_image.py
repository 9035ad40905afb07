"""Reads the image of a query, or a part of it."""

from collections.abc import Sequence

from florence_rag.chunking import ImageInput, read_image
from florence_rag.embedding.base import Embedder
from florence_rag.embedding.region_view import check_box, region_view
from florence_rag.errors import InputError
from florence_rag.types import Frame


def read_query_image(embedder: Embedder, image: ImageInput | None, box: Sequence[float] | None = None) -> Frame | None:
    """Return the frame (H, W, 3) uint8 RGB to embed for an image and a box in it, or None without an image."""
    if image is None:
        if box is not None:
            raise InputError("a box is a part of an image: give the image, too")
        return None
    return region_view(embedder, read_image(image), None if box is None else check_box(box))
