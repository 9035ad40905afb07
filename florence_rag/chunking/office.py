"""Cuts office documents and e-books into passages of text, and the images in them into image chunks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.images import read_image
from florence_rag.chunking.office_text import Section, read_sections, read_title
from florence_rag.chunking.text import split_passages
from florence_rag.chunking.zip_package import MAX_IMAGE_BYTES, ZipPackage, open_package
from florence_rag.errors import MediaError
from florence_rag.sources.io.uris import media_of, parse_member, suffix_of, unquote_name
from florence_rag.types import Chunk, Frame, Locator, Skipped, Source

MIN_SIDE_PX, MIN_PIXELS = 16, 2_500
"""Smaller images, such as bullets and lines, are decorations."""
MAX_IMAGES = 2_000
_UNREAD = frozenset(".emf .wmf .svg .mp3 .m4a .wav .docx .xlsx .pptx .xls .doc .ppt .pdf".split())


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield one chunk per passage, whose span counts the characters of the readable text, and one per image.

    A passage does not leave its slide, sheet or chapter.
    """
    with open_package(source.uri) as package:
        any_chunk, start = False, 0
        title = read_title(package)
        document = {"title": title} if title else {}
        slides: dict[str, int | None] = {}
        for section in read_sections(package, _suffix(source.uri)):
            slides = {**dict.fromkeys(section.images, section.slide), **slides}
            for chunk in _passages(source, section, start, config):
                any_chunk = True
                yield replace(chunk, metadata={**document, **section.metadata})
            start += len(section.text) + 2
        for found in _images(source, package, slides, config):
            if isinstance(found, Chunk):
                any_chunk, found = True, replace(found, metadata=document)
            yield found
    if not any_chunk:
        raise MediaError(f"{source.uri!r} contains no text and no images")


def read_frames(uri: str, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig) -> tuple[Frame, ...]:
    """Read an image in a document again."""
    with open_package(uri) as package:
        if locator.part not in package.names:
            raise MediaError(f"{uri!r} has no part {locator.part!r}; index it again if it has changed")
        return (_decode(package.read(locator.part, MAX_IMAGE_BYTES), config),)


def _suffix(uri: str) -> str:
    member = parse_member(uri)
    return suffix_of(unquote_name(member.fragment) if member else uri)


def _passages(source: Source, section: Section, start: int, config: ChunkingConfig) -> Iterator[Chunk]:
    for first, last in split_passages(section.text, config.passage_words):
        place = Locator(page=section.slide, span=(start + first, start + last))
        yield Chunk(source, "text", place, text=section.text[first:last])


def _images(
    source: Source, package: ZipPackage, slides: Mapping[str, int | None], config: ChunkingConfig
) -> Iterator[Chunk | Skipped]:
    """Yield each image once that is large enough, and a record for each other medium in the document."""
    for name in _media_members(package):
        place = Locator(page=slides.get(name), part=name)
        if media_of(name) != "image":
            yield Skipped(source.uri, f"embedded {suffix_of(name)}", place)
            continue
        try:
            data = package.read(name, MAX_IMAGE_BYTES)
            if not _is_decoration(data):
                yield Chunk(source, "image", place, frames=(_decode(data, config),))
        except MediaError:
            yield Skipped(source.uri, "damaged image", place)


def _media_members(package: ZipPackage) -> Sequence[str]:
    """Return the first of equal members with media, without the thumbnail that shows the document itself."""
    members: dict[tuple[int, int], str] = {}
    for name in package.names:
        is_medium = media_of(name) in ("image", "video") or suffix_of(name) in _UNREAD
        if is_medium and "thumbnail" not in name.lower():
            members.setdefault(package.digest(name), name)
    return list(members.values())[:MAX_IMAGES]


def _is_decoration(data: bytes) -> bool:
    """Return whether an image is too small to show anything; False for what only `read_image` opens."""
    with suppress(Exception), Image.open(BytesIO(data)) as image:
        return min(image.size) < MIN_SIDE_PX or image.width * image.height < MIN_PIXELS
    return False


def _decode(data: bytes, config: ChunkingConfig) -> Frame:
    return read_image(data, config.image_side_px, config.image_detail_px)
