"""Cuts office documents and e-books into passages of text, and the images in them into image chunks."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import Image

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.image_decoder import decode
from florence_rag.chunking.office_text import read_sections, read_title
from florence_rag.chunking.text import split_passages
from florence_rag.chunking.zip_package import ZipPackage, open_package
from florence_rag.errors import MediaError
from florence_rag.sources.io.uris import media_of, suffix_of
from florence_rag.types import Chunk, Frame, Locator, Skipped, Source

MIN_SIDE_PX, MIN_PIXELS = 16, 1_500
"""Smaller images, such as bullets and lines, are decorations."""
MAX_IMAGES = 2_000
_MAX_IMAGE_BYTES = 100_000_000
_UNREAD = frozenset(".emf .wmf .svg .mp3 .m4a .wav .docx .xlsx .pptx .xls .doc .ppt .pdf".split())
_PREVIEWS = ("docProps/thumbnail", "Thumbnails/")


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield one chunk per passage, which does not leave its slide, sheet or chapter, and one per image.

    Spans count the characters of the readable text of the whole document.
    """
    any_chunk = False
    with open_package(source.uri) as package:
        for each in _chunks(source, package, config):
            any_chunk |= isinstance(each, Chunk)
            yield each
    if not any_chunk:
        raise MediaError(f"{source.uri!r} contains no text and no images")


def read_frames(uri: str, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig) -> tuple[Frame, ...]:
    """Read an image in a document again."""
    with open_package(uri) as package:
        if locator.part not in package.names:
            raise MediaError(f"{uri!r} has no part {locator.part!r}; index it again if it has changed")
        return (_decode(package.read(locator.part, _MAX_IMAGE_BYTES), config)[0],)


def _chunks(source: Source, package: ZipPackage, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    title, start = read_title(package), 0
    metadata = {"title": title} if title else {}
    slides: dict[str, int | None] = {}
    for section in read_sections(package):
        for image in section.images:
            slides.setdefault(image, section.slide)
        for first, last in split_passages(section.text, config.passage_words):
            place = Locator(page=section.slide, span=(start + first, start + last))
            yield Chunk(source, "text", place, section.text[first:last], metadata={**metadata, **section.metadata})
        start += len(section.text) + 2
    for number, name in enumerate(_media_members(package)):
        place = Locator(page=slides.get(name), part=name)
        if media_of(name) != "image":
            yield Skipped(source.uri, f"embedded {suffix_of(name)}", place)
        elif number >= MAX_IMAGES:
            yield Skipped(source.uri, f"image after the first {MAX_IMAGES:,}", place)
        else:
            yield from _image(source, package, place, config, metadata)


def _image(
    source: Source, package: ZipPackage, place: Locator, config: ChunkingConfig, metadata: Mapping[str, Any]
) -> Iterator[Chunk | Skipped]:
    """Yield the chunk of an image; nothing if it is a decoration."""
    try:
        data = package.read(place.part or "", _MAX_IMAGE_BYTES)
        decoded = None if _is_decoration(data) else _decode(data, config)
    except Exception:  # of the archive and of decoders
        yield Skipped(source.uri, "damaged image", place)
    else:
        if decoded:
            yield Chunk(source, "image", place, frames=(decoded[0],), metadata={**metadata, **decoded[1]})


def _media_members(package: ZipPackage) -> list[str]:
    """Return the names of images and other media, once of equal ones, without previews of the document itself."""
    members: dict[tuple[int, int], str] = {}
    for name in package.names:
        is_medium = media_of(name) in ("image", "video") or suffix_of(name) in _UNREAD
        if is_medium and not name.startswith(_PREVIEWS):
            members.setdefault(package.digest(name), name)
    return list(members.values())


def _is_decoration(data: bytes) -> bool:
    """Return whether an image is too small to show anything; False for what only `decode` opens."""
    with suppress(Exception), Image.open(BytesIO(data)) as image:
        return min(image.size) < MIN_SIDE_PX or image.width * image.height < MIN_PIXELS
    return False


def _decode(data: bytes, config: ChunkingConfig) -> tuple[Frame, dict[str, Any]]:
    return decode(BytesIO(data), "the image", config.image_side_px, config.image_detail_px)
