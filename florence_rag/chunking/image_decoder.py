"""Decodes images: safe on any bytes, upright, scaled down, 8-bit RGB."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, BinaryIO

import imagecodecs
import numpy as np
import pillow_heif
from PIL import ExifTags, Image, UnidentifiedImageError

from florence_rag.chunking import tiff
from florence_rag.chunking.deep_color import to_bytes, values_to_image
from florence_rag.chunking.formats import AVIF_BRANDS, HEAD_BYTES, HEIF_BRANDS, brands, format_error
from florence_rag.errors import InputError, MediaError
from florence_rag.types import Frame

MAX_PIXELS = 50_000_000
"""The most pixels that are decoded, in about 400 MB of memory. Larger JPEGs are decoded at reduced size."""
MAX_SCANS = 64
"""The most scans of a JPEG. A progressive one has about ten, each of which goes through all pixels."""
MIN_SIDE_PX = 4
"""Thinner images show nothing, and models mistake an axis of three rows or columns for the colors."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # others, such as EPS, start programs or are insecure
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # those that a length follows, and \xd9, the end
_START_OF_SCAN, _END_OF_IMAGE = b"\xda", b"\xd9"
_STEREO = 2  # a spatial photograph has a second view
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(
    file: BinaryIO, name: str, max_side_px: int, detail_px: int | None = None, index: int | None = None
) -> tuple[Frame, dict[str, Any]]:
    """Decode an image of a file, and return it with its size in pixels, time and camera as metadata.

    Args:
        file: The open file.
        name: How errors name it.
        max_side_px: The longer side of the result. Smaller images keep their size.
        detail_px: The size to which large JPEGs are decoded, as ChunkingConfig.image_detail_px.
        index: The position of the image among those of the file. None: the main one.

    Raises:
        MediaError: If the file is not a readable image.
    """
    with open_image(file, name, index) as image, damage_reported(name):
        width, height = image.size
        enough = min(max_side_px, detail_px or max_side_px)
        image.draft(None, (enough, enough))
        # A progressive JPEG is held in memory at full size even when it is decoded at reduced size.
        check_pixels((width, height) if image.info.get("progressive") else image.size, name)
        frame = image_to_frame(_read_deep_png(file, image) if _is_deep_png(image) else image, max_side_px, name)
        exif = _read_exif(image)
    if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        width, height = height, width
    return frame, {"width": width, "height": height, **_exif_to_metadata(exif)}


@contextmanager
def open_image(file: BinaryIO, name: str, index: int | None = None) -> Iterator[Image.Image]:
    """Open an image of an allowed format, at a position among those of its file."""
    head = read_head(file)
    if not head:
        raise format_error(name, head, "an image")
    with damage_reported(name):
        image = _open(file, head, name, index)
    with image:
        yield image


def page_indices(file: BinaryIO, name: str) -> list[int]:
    """Return the positions of the pages of a TIFF file, or of the images of a HEIC file; one for other files."""
    head = read_head(file)
    if tiff.is_tiff(head):
        with suppress(Exception):  # what is wrong is said when it is decoded
            return tiff.page_indices(file, MAX_PIXELS) or [0]
    if _is_heif(head):
        with open_image(file, name) as image:
            images = getattr(image, "n_frames", 1)
            return [image.tell()] if images <= _STEREO else list(range(min(images, tiff.MAX_PAGES + 1)))
    return [0]


def read_head(file: BinaryIO) -> bytes:
    """Return the beginning of a file, and go back to it."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head


def _open(file: BinaryIO, head: bytes, name: str, index: int | None) -> Image.Image:
    if tiff.is_tiff(head) and _is_unusual(file, index or 0):
        return tiff.read_page(file, index or 0, name, check_pixels)
    file.seek(0)
    try:
        image = _open_by_pillow(file, head)
        if image.format in ("JPEG", "MPO"):
            _check_scans(file, name)
        if index is not None:
            image.seek(index)
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name} has too many pixels; at most {MAX_PIXELS:,} are read, scale it down first") from error
    except (UnidentifiedImageError, SyntaxError) as error:
        if tiff.is_tiff(head):
            return tiff.read_page(file, index or 0, name, check_pixels)
        raise format_error(name, head, "an image") from error
    return image


def _open_by_pillow(file: BinaryIO, head: bytes) -> Image.Image:
    """Open an image. HEIC is opened by its class, because a plug-in would change Image.open."""
    if _is_heif(head):
        return pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
    image = Image.open(file, formats=_FORMATS)
    if image.format == "WEBP" and image.mode == "RGB" and getattr(image, "n_frames", 1) > 1:
        image.__dict__ |= {
            "rawmode": "RGBA",
            "_mode": "RGBA",
        }  # Pillow takes uncovered parts for black if all frames are opaque
    return image


def _check_scans(file: BinaryIO, name: str) -> None:
    """Raise MediaError if a JPEG, of which the headers have been read, has very many scans."""
    at, scans, place = 0, 1, file.tell()
    data = file.read()
    file.seek(place)
    if data.count(b"\xff" + _START_OF_SCAN) < MAX_SCANS:
        return
    while (found := _MARKER.search(data, at)) and found[1] != _END_OF_IMAGE:
        scans += found[1] == _START_OF_SCAN
        if scans > MAX_SCANS:
            raise MediaError(f"{name} has more than {MAX_SCANS} scans; save it again as another JPEG")
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")


def _is_heif(head: bytes) -> bool:
    return bool(brands(head) & HEIF_BRANDS) and not brands(head) & AVIF_BRANDS


def _is_unusual(file: BinaryIO, index: int) -> bool:
    try:
        return tiff.is_unusual(file, index)
    except Exception:  # a damaged tag; Pillow may read the rest
        return False


def _is_deep_png(image: Image.Image) -> bool:
    """Return whether an image is a PNG of 16 bits with several channels, of which Pillow drops the lower eight."""
    return image.format == "PNG" and image.mode in ("RGB", "RGBA", "LA") and ";16" in str(getattr(image, "tile", ""))


def _read_deep_png(file: BinaryIO, image: Image.Image) -> Image.Image:
    file.seek(0)
    values = imagecodecs.png_decode(file.read())
    deep = values_to_image(values, alpha=values.shape[2] in (2, 4))
    deep.getexif().update(image.getexif())
    return deep


@contextmanager
def damage_reported(name: str) -> Iterator[None]:
    """Map any error of a decoder to a MediaError without its message, which may hold memory addresses."""
    try:
        # On Python before 3.14 other threads see this filter, too, so it silences only Pillow's own warnings.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            yield
    except InputError:
        raise
    except Exception as error:
        raise MediaError(f"{name} is truncated or damaged; replace it with a good copy") from error


def image_to_frame(image: Image.Image, max_side_px: int, name: str) -> Frame:
    """Return an image, which changes, as a frame: upright, scaled down, over white."""
    image.load()
    orientation = _read_exif(image).get(ExifTags.Base.Orientation, 1)
    if image.mode in ("1", "P", "PA"):  # scaling these modes would pick single pixels
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode.startswith(("I", "F")):
        image = Image.fromarray(to_bytes(np.asarray(image)))
    if min(image.size) < MIN_SIDE_PX:
        raise MediaError(f"{name} is too thin to show anything: {image.width} x {image.height} pixels")
    image.thumbnail((max_side_px, max_side_px), Image.Resampling.BICUBIC, reducing_gap=None)
    if min(image.size) < MIN_SIDE_PX:  # a very long one, whose words OCR reads in its own size
        image = image.resize((max(MIN_SIDE_PX, image.width), max(MIN_SIDE_PX, image.height)))
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def check_pixels(size: tuple[int, int], name: str) -> None:
    """Raise MediaError if an image of this (width, height) is too large to be decoded."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{name} has {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all are read, scale it down first"
        )


def _read_exif(image: Image.Image) -> dict[int, Any]:
    """Return the EXIF tags, with those of the photograph's own directory; none if they are broken, as often happens."""
    try:
        exif = image.getexif()
        return {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
    except Exception:
        return {}


def _exif_to_metadata(exif: dict[int, Any]) -> dict[str, str]:
    metadata = {}
    taken_at = exif.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    with suppress(ValueError):
        time = datetime.strptime(str(taken_at).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        if time.year > 1970:  # an earlier year means that the clock was never set
            metadata["taken_at"] = time.isoformat()
    make, model = (_clean(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
    return {**metadata, "camera": camera} if camera else metadata


def _clean(value: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) if isinstance(value, str) else ""
