"""Finds the pages of TIFF files, and reads what Pillow does not: more than 8 bits per channel, and further channels."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffFrame, TiffPage

from florence_rag.chunking.deep_color import to_bytes, values_to_image
from florence_rag.errors import MediaError

MAX_PAGES = 1000
"""The most pages of one file that are read."""
_MAX_BYTES = 500_000_000
_PREMULTIPLIED = 1
_ALPHA = (_PREMULTIPLIED, 2)  # values of ExtraSamples; others are further bands, such as near infrared
_COLORS: Mapping[int, int] = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.MASK: 1,
    PHOTOMETRIC.SEPARATED: 4,
}
"""The number of colors; 3 for others."""
_NODATA, _MAX_SAMPLE_VALUE = 42113, 281
_COPIED_TAGS = (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Orientation, ExifTags.Base.DateTime)

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs every unusual tag


def is_tiff(head: bytes) -> bool:
    """Return whether a file with this beginning is a TIFF, perhaps one of more than 4 GB."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def page_indices(file: BinaryIO, max_pixels: int) -> list[int]:
    """Return the positions of the pages, without thumbnails, masks and smaller copies; at most MAX_PAGES + 1.

    Of a single image that is too large, the position is that of its largest copy that is not.
    """
    file.seek(0)
    with TiffFile(file) as tiff:
        chain: dict[int, TiffPage | TiffFrame] = {}
        for page in islice(tiff.pages, MAX_PAGES + 1):
            chain.setdefault(page.offset, page)  # a damaged chain may be a loop
    pages = [page for page in chain.values() if isinstance(page, TiffPage)]
    full = [page for page in pages if not (page.is_reduced or page.is_mask)] or pages[:1]
    full = [page for page in full if not _is_pyramid_level(page, full[0])]
    if len(full) == 1 and _pixels(full[0]) > max_pixels:
        copies = [page for page in pages if not page.is_mask and _pixels(page) <= max_pixels]
        full = [max(copies, key=_pixels)] if copies else full
    return [page.index for page in full]


def is_unusual(file: BinaryIO, index: int) -> bool:
    """Return whether Pillow would misread a page: more than 8 bits, bands that are no colors or opacity, or WebP."""
    file.seek(0)
    with TiffFile(file) as tiff:
        page = _page(tiff, index)
    further = page.samplesperpixel - _COLORS.get(page.photometric, 3)
    has_bands = further > 1 or (further == 1 and _alpha_channel(page.extrasamples, page.samplesperpixel) is None)
    is_deep = page.bitspersample > 8 or page.sampleformat != 1
    return is_deep or has_bands or page.compression == COMPRESSION.WEBP


def read_page(file: BinaryIO, index: int, name: str, check_size: Callable[[tuple[int, int], str], None]) -> Image.Image:
    """Read a page as an image of 8 bits per channel, with its orientation, time and camera as EXIF data."""
    file.seek(0)
    with TiffFile(file) as tiff:
        page = _page(tiff, index)
        check_size((page.imagewidth, page.imagelength), name)
        if (size := page.size * max(1, page.bitspersample // 8)) > _MAX_BYTES:
            raise MediaError(
                f"{name} has {size:,} bytes of pixels; at most {_MAX_BYTES:,} are read, scale it down first"
            )
        image = _to_image(page, _values(page), name)
        exif = image.getexif()
        for tag in _COPIED_TAGS:
            if (value := page.tags.valueof(tag)) is not None:
                exif[tag] = value
    return image


def _page(tiff: TiffFile, index: int) -> TiffPage:
    page = tiff.pages[index]
    assert isinstance(page, TiffPage)
    return page


def _pixels(page: TiffPage) -> int:
    return page.imagewidth * page.imagelength


def _is_pyramid_level(page: TiffPage, first: TiffPage) -> bool:
    """Return whether a page is the first one at a half, a third, ... of its size: slides do not mark such copies."""
    factor = round(first.imagewidth / max(1, page.imagewidth))
    sizes = zip((first.imagewidth, first.imagelength), (page.imagewidth, page.imagelength), strict=True)
    return page.is_tiled and factor > 1 and all(abs(whole - factor * part) <= factor for whole, part in sizes)


def _values(page: TiffPage) -> np.ndarray:
    """Return the values of the first plane of a page, (H, W, C)."""
    values = page.asarray(maxworkers=1)
    for axis, letter in reversed(list(enumerate(page.axes))):
        if letter not in "YXS":
            values = values.take(0, axis)
    axes = [letter for letter in page.axes if letter in "YXS"]
    if "S" not in axes:
        return values[..., None]
    return np.moveaxis(values, axes.index("S"), -1)


def _to_image(page: TiffPage, values: np.ndarray, name: str) -> Image.Image:
    channels = values.shape[2]
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        return Image.fromarray(to_bytes(np.moveaxis(page.colormap[:, values[..., 0]], 0, -1), 65535.0))
    if page.photometric == PHOTOMETRIC.SEPARATED and channels >= 4:
        inks = to_bytes(values[..., :4], _full_scale(page))
        return Image.frombuffer("CMYK", inks.shape[1::-1], inks.tobytes())
    if page.photometric not in (PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB):
        kind = getattr(page.photometric, "name", page.photometric)
        raise MediaError(f"{name} has {kind} colors of {page.bitspersample} bits; convert it to RGB")
    alpha = _alpha_channel(page.extrasamples, channels)
    colors = [0, 1, 2] if channels - (alpha is not None) >= 3 else [0]
    image = values_to_image(
        values[..., colors if alpha is None else [*colors, alpha]],
        alpha=alpha is not None,
        premultiplied=alpha is not None and _PREMULTIPLIED in page.extrasamples,
        white=_white(page),
        missing=_number(page.tags.valueof(_NODATA)),
    )
    return ImageOps.invert(image) if page.photometric == PHOTOMETRIC.MINISWHITE and alpha is None else image


def _alpha_channel(extra_samples: Sequence[int], channels: int) -> int | None:
    """Return the position of the opacity, if a channel is declared to be it."""
    kinds = (channels - len(extra_samples) + i for i, kind in enumerate(extra_samples) if kind in _ALPHA)
    return next((position for position in kinds if position > 0), None)


def _white(page: TiffPage) -> float | None:
    """Return the value that is white, if the page tells: by a tag, an unusual number of bits, or because 0 is white."""
    declared = page.tags.valueof(_MAX_SAMPLE_VALUE)
    declared = max(declared) if isinstance(declared, tuple) else declared
    if page.sampleformat == 1 and _number(declared):
        return _number(declared)
    return _full_scale(page) if page.bitspersample % 8 or page.photometric == PHOTOMETRIC.MINISWHITE else None


def _full_scale(page: TiffPage) -> float:
    """Return the largest value that the samples of a page can have."""
    return 2.0**page.bitspersample - 1 if page.sampleformat == 1 else 1.0


def _number(text: object) -> float | None:
    """Return the number that a tag holds, often as text; None if it holds none."""
    try:
        return float(str(text).strip("\0 "))
    except ValueError:
        return None
