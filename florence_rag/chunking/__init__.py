"""Stage 2: cuts sources into the chunks that are embedded, stored and cited: image, page, clip, text passage."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.images import ImageInput, read_image
from florence_rag.errors import InputError, MediaError
from florence_rag.sources import discover
from florence_rag.sources.io import read_sidecar
from florence_rag.sources.io.uris import media_of
from florence_rag.types import MEDIA_OF_KIND, Chunk, Failure, Frame, Kind, Locator, Media, Source

__all__ = ["ChunkingConfig", "ImageInput", "chunk", "chunk_paths", "read_frames", "read_image"]

_READERS: Mapping[Media, str] = {"image": "images", "pdf": "pdf", "text": "text", "video": "video"}
"""The module of this package that reads each medium. It is imported on first use, because decoders load slowly."""
_DEFAULT = ChunkingConfig()
log = logging.getLogger(__name__)


def _reader(media: Media) -> ModuleType:
    """Return the module whose `chunk_source` cuts a medium into chunks, and whose `read_frames` reads frames again."""
    if media not in _READERS:
        raise InputError(f"{media!r} is not a known medium; allowed are {', '.join(map(repr, _READERS))}")
    return import_module(f"{__name__}.{_READERS[media]}")


def chunk(source: Source, config: ChunkingConfig = _DEFAULT) -> Iterator[Chunk]:
    """Cut a source into chunks, one by one: at most one clip or page of it is in memory.

    Args:
        source: The source. What its container says of it becomes the caption and metadata of its chunks.
        config: How sources are cut.

    Yields:
        The chunks, in the order of the source.

    Raises:
        MediaError: If the file is damaged or of another kind than its name says, perhaps after the first chunks.
        InputError: If the file cannot be reached.
    """
    sidecar = read_sidecar(source.uri)
    for each in _reader(source.media).chunk_source(source, config):
        yield replace(each, caption=sidecar.caption, metadata={**sidecar.metadata, **each.metadata})


def chunk_paths(
    paths: Iterable[str | Path], config: ChunkingConfig = _DEFAULT, *, strict: bool = False
) -> Iterator[Chunk]:
    """Cut the files at and below paths into chunks, one by one, without an index.

    Args:
        paths: Files and folders.
        config: How files are cut.
        strict: Whether a file that cannot be read raises MediaError; otherwise a warning names it.

    Raises:
        InputError: If a path does not exist.
    """
    for source in discover(paths):
        try:
            if isinstance(source, Failure):
                raise MediaError(f"{source.source!r}: {source.reason}")
            yield from chunk(source, config)
        except MediaError as error:
            if strict:
                raise
            log.warning("skipped: %s", error)


def read_frames(
    uri: str, kind: Kind, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig = _DEFAULT
) -> tuple[Frame, ...]:
    """Read the frames of an indexed chunk again from its file; () for text.

    The name of the file tells its reader, because media share kinds: pages are in PDFs and in images. The kind decides
    where the name tells no medium with frames.
    """
    if kind == "text":
        return ()
    media = media_of(uri) or "text"
    reader = _reader(MEDIA_OF_KIND[kind] if media == "text" else media)
    frames: tuple[Frame, ...] = reader.read_frames(uri, locator, metadata, config)
    return frames
