"""Encodes images as JPEG, for everything that sends or shows them."""

import base64
import io

from PIL import Image

from florence_rag.types import Frame


def to_jpeg(image: Image.Image | Frame, *, max_side_px: int | None = None, quality: int = 85) -> bytes:
    """Encode an image as a JPEG file without metadata.

    Args:
        image: A PIL image, or an RGB frame (H, W, 3) uint8.
        max_side_px: The longest side of the result; larger images are scaled down. None keeps the size.
        quality: The JPEG quality, from 1 to 95.

    Returns:
        The bytes of the file.
    """
    encoded = image.convert("RGB") if isinstance(image, Image.Image) else Image.fromarray(image)
    if max_side_px is not None:
        encoded.thumbnail((max_side_px, max_side_px))
    buffer = io.BytesIO()
    encoded.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def jpeg_uri(jpeg: bytes) -> str:
    """Return the bytes of a JPEG file as a `data:` URI."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
