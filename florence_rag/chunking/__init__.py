"""Stage 2: cuts sources into the chunks that are embedded, stored and cited: image, page, clip, text passage."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from os import PathLike
from types import ModuleType
from typing import Any

from florence_rag.chunking.config import FULL_SIZE, ChunkingConfig
from florence_rag.chunking.images import ImageInput, read_image
from florence_rag.errors import InputError, MediaError
from florence_rag.skip_counts import SkipCounts, counts_to_line
from florence_rag.sources import discover
from florence_rag.sources.io import read_sidecar
from florence_rag.sources.io.uris import guess_media, media_of
from florence_rag.sources.limited import limit_errors_named, stream_file
from florence_rag.telemetry import get_logger
from florence_rag.types import MEDIA_OF_KIND, Chunk, Failure, Frame, Kind, Locator, Media, Skipped, Source
from florence_rag.workers import DEFAULT_LIMITS, Limits

__all__ = ["FULL_SIZE", "ChunkingConfig", "ImageInput", "chunk", "chunk_paths", "read_frames", "read_image"]

_READERS: Mapping[Media, str] = {
    "image": "image_files",
    "pdf": "pdf",
    "text": "text",
    "office": "office",
    "video": "video",
}
"""The module of this package that reads each medium. It is imported on first use, because decoders load slowly."""
_DEFAULT = ChunkingConfig()
log = get_logger(__name__)


def _reader(media: Media) -> ModuleType:
    """Return the module whose `chunk_source` cuts a medium into chunks, and whose `read_frames` reads frames again."""
    if media not in _READERS:
        raise InputError(f"{media!r} is not a known medium; allowed are {', '.join(map(repr, _READERS))}")
    return import_module(f"{__name__}.{_READERS[media]}")


def chunk(source: Source, config: ChunkingConfig = _DEFAULT) -> Iterator[Chunk]:
    """Cut a source into chunks, one by one: at most one clip or page of it is in memory.

    A warning names each part of the source that is skipped.

    Args:
        source: The source. What its container says of it becomes the caption and metadata of its chunks.
        config: How sources are cut.

    Yields:
        The chunks, in the order of the source.

    Raises:
        MediaError: If the file is damaged or of another kind than its name says, perhaps after the first chunks.
        InputError: If the file cannot be reached.
    """
    for each in chunk_or_skip(source, config):
        if isinstance(each, Skipped):
            log.warning("skipped: %s", each)
        else:
            yield each


def chunk_or_skip(source: Source, config: ChunkingConfig = _DEFAULT) -> Iterator[Chunk | Skipped]:
    """Cut a source into chunks as `chunk` does, with a record in the place of each part that is skipped."""
    sidecar = read_sidecar(source.uri)
    for each in _reader(source.media).chunk_source(source, config):
        if isinstance(each, Chunk):
            each = replace(each, caption=sidecar.caption, metadata={**sidecar.metadata, **each.metadata})
        yield each


def chunk_paths(
    paths: Iterable[str | PathLike[str]],
    config: ChunkingConfig = _DEFAULT,
    *,
    strict: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Chunk]:
    """Cut the files at and below paths into chunks, one by one, without an index.

    A warning in the end counts the files that are skipped.

    Args:
        paths: Files and folders.
        config: How files are cut.
        strict: Whether a file that cannot be read raises MediaError; otherwise a warning names it.
        limits: The time and memory that reading a file may take, in a process of its own.

    Raises:
        InputError: If a path does not exist.
    """
    skipped = SkipCounts()
    for found in discover(paths):
        try:
            for each in _chunk_found(found, config, limits):
                if isinstance(each, Skipped):
                    skipped.add(each)
                else:
                    yield each
        except MediaError as error:
            if strict:
                raise
            log.warning("not read: %s", error)
    if skipped.records:
        log.warning(counts_to_line(skipped.by_reason))


def _chunk_found(
    found: Source | Failure | Skipped, config: ChunkingConfig, limits: Limits
) -> Iterator[Chunk | Skipped]:
    if isinstance(found, Failure):
        raise MediaError(f"{found.source!r}: {found.reason}")
    if isinstance(found, Skipped):
        yield found
        return
    with limit_errors_named(repr(found.uri)):
        yield from stream_file(found.uri, chunk_or_skip, found, config, limits=limits, media=found.media)


def read_frames(
    uri: str,
    kind: Kind,
    locator: Locator,
    metadata: Mapping[str, Any],
    config: ChunkingConfig = _DEFAULT,
    *,
    limits: Limits | None = None,
) -> tuple[Frame, ...]:
    """Read the frames of an indexed chunk again from its file, in a worker process; () for text.

    The limits are those of `stream_file`.

    Raises:
        MediaError: If the file is damaged, or is no longer what was indexed, or exceeds a limit.
        InputError: If the file cannot be reached.
    """
    if kind == "text":
        return ()
    return tuple(stream_file(uri, _decode_frames, uri, kind, locator, metadata, config, limits=limits))


def _decode_frames(
    uri: str, kind: Kind, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig
) -> tuple[Frame, ...]:
    """Decode the frames of an indexed chunk.

    The name of the file or its first bytes tell its reader, because media share kinds: pages are in PDFs and in images.
    The kind decides where they tell no medium with frames.
    """
    media = media_of(uri) or guess_media(uri) or "text"
    reader = _reader(MEDIA_OF_KIND[kind] if media == "text" else media)
    frames: tuple[Frame, ...] = reader.read_frames(uri, locator, metadata, config)
    return frames
