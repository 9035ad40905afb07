"""Opens the preview of camera raw files with rawpy (LibRaw), from the extra `raw`."""

import io
from typing import Any, BinaryIO

from PIL import Image

from florence_rag.errors import InputError, MediaError
from florence_rag.sources.io.uris import CAMERA_RAW_SUFFIXES, suffix_of

_MIN_PREVIEW_PX = 640
"""Smaller previews are icons; the raw data are developed instead."""
_MAX_RAW_PIXELS = 200_000_000


def is_camera_raw(uri: str) -> bool:
    """Return whether a file is a camera raw file, by its name: many begin as a TIFF with an icon."""
    return suffix_of(uri) in CAMERA_RAW_SUFFIXES


def open_preview(file: BinaryIO, name: str) -> BinaryIO:
    """Return the image that the camera stored in a raw file, as an open image file; without one, the developed data.

    Args:
        file: The open raw file.
        name: How errors name it.

    Raises:
        MediaError: If the file is not a readable raw file.
        InputError: If rawpy is not installed.
    """
    try:
        import rawpy
    except ImportError:
        raise InputError(f"{name} is a camera raw file: pip install 'florence-rag[raw]'") from None
    try:
        with rawpy.imread(io.BytesIO(file.read())) as raw:
            return _preview(raw) or _developed(raw, name)
    except rawpy.LibRawError as error:
        raise MediaError(f"{name} is not a readable camera raw file; replace it with a good copy") from error


def _preview(raw: Any) -> BinaryIO | None:
    """Return the stored image, whose EXIF data have the orientation and the camera; None if there is no large one."""
    import rawpy

    try:
        thumbnail = raw.extract_thumb()
    except rawpy.LibRawError:
        return None
    if thumbnail.format != rawpy.ThumbFormat.JPEG:
        return None
    file = io.BytesIO(thumbnail.data)
    with Image.open(file, formats=["JPEG"]) as image:
        large = max(image.size) >= _MIN_PREVIEW_PX
    file.seek(0)
    return file if large else None


def _developed(raw: Any, name: str) -> BinaryIO:
    pixels = raw.sizes.raw_width * raw.sizes.raw_height
    if pixels > _MAX_RAW_PIXELS:
        raise MediaError(f"{name} has {pixels:,} pixels; at most {_MAX_RAW_PIXELS:,} are developed")
    file = io.BytesIO()
    Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True)).save(file, "BMP")
    file.seek(0)
    return file
