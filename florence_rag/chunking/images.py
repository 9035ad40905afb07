"""Reads an image from any form in which it can be given."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike, fspath
from typing import BinaryIO

import numpy as np
from PIL import Image

from florence_rag.chunking.camera_raw import is_camera_raw, open_preview
from florence_rag.chunking.deep_color import values_to_image
from florence_rag.chunking.image_decoder import check_pixels, damage_reported, decode, image_to_frame
from florence_rag.chunking.image_string import decode_image_string
from florence_rag.errors import InputError
from florence_rag.sources.io import open_file
from florence_rag.sources.io.uris import is_url
from florence_rag.types import Frame

ImageInput = str | PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray
"""An image: a path, a file: URL, a data URI, bytes, an open file, or pixels; for an index also the id of a chunk."""

UNNAMED_IMAGE = "the given image"
"""What messages and citations call an image without a file."""


def read_image(image: ImageInput, max_side_px: int = 1280, detail_px: int | None = None) -> Frame:
    """Read an image upright, with white in place of transparency; the first image of an animation or of several pages.

    Args:
        image: A path, a file: URL, a data URI or base64 as in `decode_image_string`, bytes, an open file, a PIL image,
            or an array (H, W), (H, W, 3) or (H, W, 4). Values of more than 8 bits are scaled by the smallest usual
            white level (1, 255, 1023, 4095, ...) that is not below the maximum. Other URLs are not fetched.
        max_side_px: The longer side of the result. Smaller images keep their size.
        detail_px: The size to which large JPEGs are decoded, as ChunkingConfig.image_detail_px.

    Returns:
        The image, (H, W, 3) uint8 RGB.

    Raises:
        MediaError: If the file is not a readable image.
        InputError: If the argument is a URL, or of another type or shape.
    """
    if isinstance(image, np.ndarray):
        image = _array_to_image(image)
    if isinstance(image, Image.Image):
        name = repr(getattr(image, "filename", "") or UNNAMED_IMAGE)
        check_pixels(image.size, name)
        with damage_reported(name):
            return image_to_frame(image.copy(), max_side_px, name)
    with _open_bytes(image) as (file, name):
        return decode(file, name, max_side_px, detail_px)[0]


@contextmanager
def _open_bytes(image: str | PathLike[str] | bytes | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """Open the bytes as a seekable file, with a name for error messages."""
    if isinstance(image, bytes):
        yield BytesIO(image), UNNAMED_IMAGE
    elif isinstance(image, str | PathLike):
        found = decode_image_string(fspath(image))
        if isinstance(found, bytes):
            yield BytesIO(found), UNNAMED_IMAGE
            return
        if is_url(found):
            raise InputError(f"{found[:80]!r} is a URL; URLs are not fetched, download the file first")
        with open_file(found) as file:
            name = f"{found!r:.999}"
            yield open_preview(file, name) if is_camera_raw(found) else file, name
    elif hasattr(image, "read"):
        yield BytesIO(image.read()), repr(getattr(image, "name", None) or UNNAMED_IMAGE)
    else:
        raise InputError(f"a {type(image).__name__} is not an image; give a path, bytes, file, PIL image or array")


def _array_to_image(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape or array.dtype.kind not in "buif":
        raise InputError(
            f"an array of shape {array.shape} and type {array.dtype} is not an image; "
            "give (H, W), (H, W, 3) or (H, W, 4)"
        )
    return values_to_image(array if array.ndim == 3 else array[..., None], alpha=channels == 4)
