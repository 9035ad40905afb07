"""The only loader of images: safe on any bytes, upright, scaled down, 8-bit RGB."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from io import BytesIO
from os import PathLike, fspath
from typing import Any, BinaryIO

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, UnidentifiedImageError

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.formats import AVIF_BRANDS, HEAD_BYTES, HEIF_BRANDS, brands, format_error
from florence_rag.chunking.image_string import decode_image_string
from florence_rag.errors import InputError, MediaError
from florence_rag.sources.io import open_file, open_uri
from florence_rag.types import Chunk, Frame, Locator, Source

ImageInput = str | PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray
"""An image: a path, a file: URL, a data URI, bytes, an open file, or pixels; for an index also the id of a chunk."""

MAX_PIXELS = 50_000_000
"""The most pixels that are decoded, in about 400 MB of memory. Larger JPEGs are decoded at reduced size."""
MIN_SIDE_PX = 4
"""Thinner images show nothing, and models mistake an axis of three rows or columns for the colors."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # others, such as EPS, start programs or are insecure
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHITE_LEVELS = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)


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
        name = repr(getattr(image, "filename", "") or "the given image")
        _check_pixels(image.size, name)
        with _damage_reported(name):
            return _image_to_frame(image.copy(), max_side_px, name)
    with _open_bytes(image) as (file, name):
        return _decode(file, name, max_side_px, detail_px)[0]


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk]:
    """Yield one chunk: the image with its size in pixels, and the time and camera if its EXIF data has them."""
    frame, metadata = _decode_source(source.uri, config)
    yield Chunk(source, "image", frames=(frame,), metadata=metadata)


def read_frames(uri: str, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig) -> tuple[Frame, ...]:
    """Read an indexed image again from the uri of its source, which may be a URL or a member of a container."""
    return (_decode_source(uri, config)[0],)


def _decode_source(uri: str, config: ChunkingConfig) -> tuple[Frame, dict[str, Any]]:
    with open_uri(uri) as file:
        return _decode(file, repr(uri), config.image_side_px, config.image_detail_px)


@contextmanager
def _open_bytes(image: str | PathLike[str] | bytes | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """Open the bytes as a seekable file, with a name for error messages."""
    if isinstance(image, bytes):
        yield BytesIO(image), "the given image"
    elif isinstance(image, str | PathLike):
        found = decode_image_string(fspath(image))
        if isinstance(found, bytes):
            yield BytesIO(found), "the given image"
            return
        if found.lower().startswith(("http://", "https://")):
            raise InputError(f"{found[:80]!r} is a URL; URLs are not fetched, download the file first")
        with open_file(found) as file:
            yield file, repr(found)
    elif hasattr(image, "read"):
        yield BytesIO(image.read()), repr(getattr(image, "name", None) or "the given image")
    else:
        raise InputError(f"a {type(image).__name__} is not an image; give a path, bytes, file, PIL image or array")


def _decode(file: BinaryIO, name: str, max_side_px: int, detail_px: int | None = None) -> tuple[Frame, dict[str, Any]]:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise format_error(name, head, "an image")
    with _damage_reported(name), _open_image(file, head, name) as image:
        width, height = image.size
        enough = min(max_side_px, detail_px or max_side_px)
        image.draft(None, (enough, enough))
        # A progressive JPEG is held in memory at full size even when it is decoded at reduced size.
        _check_pixels((width, height) if image.info.get("progressive") else image.size, name)
        frame = _image_to_frame(image, max_side_px, name)
        exif = _read_exif(image)
    if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
        width, height = height, width
    return frame, {"width": width, "height": height, **_exif_to_metadata(exif)}


def _open_image(file: BinaryIO, head: bytes, name: str) -> Image.Image:
    """Open an image of an allowed format. HEIC is opened by its class, because a plug-in would change Image.open."""
    try:
        if brands(head) & HEIF_BRANDS and not brands(head) & AVIF_BRANDS:
            return pillow_heif.HeifImageFile(file)  # type: ignore[no-untyped-call]
        return Image.open(file, formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name} has too many pixels; at most {MAX_PIXELS:,} are read, scale it down first") from error
    except (UnidentifiedImageError, SyntaxError) as error:
        raise format_error(name, head, "an image") from error


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
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


def _image_to_frame(image: Image.Image, max_side_px: int, name: str) -> Frame:
    image.load()
    orientation = _read_exif(image).get(ExifTags.Base.Orientation, 1)
    if image.mode in ("1", "P", "PA"):  # scaling these modes would pick single pixels
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode.startswith(("I", "F")):
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    image.thumbnail((max_side_px, max_side_px), Image.Resampling.BICUBIC, reducing_gap=None)
    if min(image.size) < MIN_SIDE_PX:
        raise MediaError(f"{name} is too thin to show anything: {image.width} x {image.height} pixels when scaled")
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{name} has {width:,} x {height:,} pixels; at most {MAX_PIXELS:,} in all are read, scale it down first"
        )


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Scale any numbers to uint8: 0 is black, and the smallest usual white level not below the maximum becomes 255.

    With negative numbers, the range from the minimum to the maximum becomes 0 to 255.
    """
    if values.dtype == np.uint8:
        return values
    numbers = np.nan_to_num(values.astype(np.float32), copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    low, top = float(numbers.min()), float(numbers.max())
    if low < 0:
        numbers -= low
        white = top - low or 1.0
    else:
        white = next((level for level in _WHITE_LEVELS if top <= level), top)
    numbers *= 255.0 / white
    return numbers.round(out=numbers).astype(np.uint8)


def _array_to_image(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape or array.dtype.kind not in "buif":
        raise InputError(
            f"an array of shape {array.shape} and type {array.dtype} is not an image; "
            "give (H, W), (H, W, 3) or (H, W, 4)"
        )
    pixels = _to_bytes(array)
    return Image.fromarray(pixels[:, :, 0] if array.ndim == 3 and channels == 1 else pixels)


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
        metadata["taken_at"] = datetime.strptime(str(taken_at).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()
    make, model = (_clean(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
    return {**metadata, "camera": camera} if camera else metadata


def _clean(value: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) if isinstance(value, str) else ""
