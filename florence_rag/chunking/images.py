"""Reads an image from any form in which it can be given."""

from collections.abc import Iterator
from io import BytesIO
from os import PathLike, fspath
from typing import BinaryIO

import numpy as np
from PIL import Image

from florence_rag.chunking.camera_raw import is_camera_raw, open_preview
from florence_rag.chunking.deep_color import values_to_image
from florence_rag.chunking.image_string import decode_image_string
from florence_rag.errors import InputError
from florence_rag.sources.io import open_file
from florence_rag.sources.io.uris import is_url
from florence_rag.sources.limited import limit_errors_named, stream_file
from florence_rag.types import Frame

ImageInput = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray
"""An image: a path, a file: URL, a data URI, bytes, an open file, or pixels; for an index also the id of a chunk."""

UNNAMED_IMAGE = "the given image"
"""What messages and citations call an image without a file."""


def read_image(image: ImageInput, max_side_px: int = 1280, detail_px: int | None = None) -> Frame:
    """Read an image upright, with white in place of transparency; the first image of an animation or of several pages.

    Files are decoded in a worker process, because small ones can keep a decoder busy for hours or fill the memory.

    Args:
        image: A path, a file: URL, a data URI or base64 as in `decode_image_string`, bytes, an open file, a PIL image,
            or an array (H, W), (H, W, 3) or (H, W, 4). Values of more than 8 bits are scaled by the smallest usual
            white level (1, 255, 1023, 4095, ...) that is not below the maximum. Other URLs are not fetched.
        max_side_px: The longer side of the result. Smaller images keep their size.
        detail_px: The size to which large JPEGs are decoded, as ChunkingConfig.image_detail_px.

    Returns:
        The image, (H, W, 3) uint8 RGB.

    Raises:
        MediaError: If the file is not a readable image, or decoding it takes more than READ_LIMITS.
        InputError: If the argument is a URL, or of another type or shape.
    """
    if isinstance(image, np.ndarray):
        image = _array_to_image(image)
    if isinstance(image, Image.Image):
        # Decoders load slowly, and a search by text needs none.
        from florence_rag.chunking.image_decoder import check_pixels, damage_reported, image_to_frame

        name = repr(getattr(image, "filename", "") or UNNAMED_IMAGE)
        check_pixels(image.size, name)
        with damage_reported(name):
            return image_to_frame(image.copy(), max_side_px, name)
    file, name = _to_file(image)
    with limit_errors_named(name):
        (frame,) = stream_file("", _decode, file, name, max_side_px, detail_px)
    return frame


def _to_file(image: str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO) -> tuple[bytes | str, str]:
    """Return the bytes of a file, or its path, and its name in error messages."""
    if isinstance(image, str | PathLike):
        found = decode_image_string(fspath(image))
        if isinstance(found, bytes):
            return found, UNNAMED_IMAGE
        if is_url(found):
            raise InputError(f"{found[:80]!r} is a URL; URLs are not fetched, download the file first")
        return found, f"{found!r:.999}"
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image), UNNAMED_IMAGE
    if hasattr(image, "read"):
        return image.read(), repr(getattr(image, "name", None) or UNNAMED_IMAGE)
    raise InputError(f"a {type(image).__name__} is not an image; give a path, bytes, file, PIL image or array")


def _decode(file: bytes | str, name: str, max_side_px: int, detail_px: int | None) -> Iterator[Frame]:
    from florence_rag.chunking.image_decoder import decode

    with BytesIO(file) if isinstance(file, bytes) else open_file(file) as opened:
        is_raw = isinstance(file, str) and is_camera_raw(file)
        yield decode(open_preview(opened, name) if is_raw else opened, name, max_side_px, detail_px)[0]


def _array_to_image(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape or array.dtype.kind not in "buif":
        raise InputError(
            f"an array of shape {array.shape} and type {array.dtype} is not an image; "
            "give (H, W), (H, W, 3) or (H, W, 4)"
        )
    return values_to_image(array if array.ndim == 3 else array[..., None], alpha=channels == 4)
