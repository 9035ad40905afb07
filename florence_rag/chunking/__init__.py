"""Stage 2: cuts sources into the chunks that are embedded, stored and cited: image, page, clip, text passage."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.images import chunk_image, read_image, read_image_source
from florence_rag.chunking.text import chunk_text
from florence_rag.errors import InputError, MediaError
from florence_rag.sources import discover
from florence_rag.sources.io import read_sidecar
from florence_rag.types import Chunk, Failure, Frame, Kind, Locator, Source

__all__ = ["ChunkingConfig", "chunk", "chunk_paths", "read_frames", "read_image"]

_DEFAULT = ChunkingConfig()
log = logging.getLogger(__name__)


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
    for each in _chunk(source, config):
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


def _chunk(source: Source, config: ChunkingConfig) -> Iterator[Chunk]:
    if source.media == "image":
        yield from chunk_image(source, config)
    elif source.media == "text":
        yield from chunk_text(source, config)
    elif source.media == "pdf":
        from florence_rag.chunking.pdf import chunk_pdf

        yield from chunk_pdf(source, config)
    elif source.media == "video":
        from florence_rag.chunking.video import chunk_video

        yield from chunk_video(source, config)
    else:
        raise InputError(f"{source.media!r} is no known medium; give 'image', 'video', 'text' or 'pdf'")


def read_frames(
    uri: str, kind: Kind, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig = _DEFAULT
) -> tuple[Frame, ...]:
    """Read the frames of an indexed chunk again from its file; () for text."""
    if kind == "image":
        return (read_image_source(uri, config),)
    if kind == "page":
        from florence_rag.chunking.pdf import render_page

        return (render_page(uri, locator.page or 1, config.page_side_px),)
    if kind == "clip":
        from florence_rag.chunking.video import read_keyframes

        times_s = metadata.get("keyframes_s") or [locator.start_s or 0.0]
        return read_keyframes(uri, times_s, config.keyframe_side_px)
    return ()
