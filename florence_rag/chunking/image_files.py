"""Cuts image files into chunks: each is one image, the pages of a scan, or the clips of an animation."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

from florence_rag.chunking import animation
from florence_rag.chunking.camera_raw import is_camera_raw, open_preview
from florence_rag.chunking.config import ChunkingConfig
from florence_rag.chunking.image_decoder import decode, page_indices
from florence_rag.chunking.tiff import MAX_PAGES
from florence_rag.errors import MediaError
from florence_rag.sources.io import open_uri
from florence_rag.types import Chunk, Frame, Locator, Skipped, Source


def chunk_source(source: Source, config: ChunkingConfig) -> Iterator[Chunk | Skipped]:
    """Yield the image with its size in pixels, time and camera; the pages of a scan; or the clips of an animation."""
    with _opened(source.uri) as file:
        if animation.is_animation(file, repr(source.uri)):
            yield from animation.chunk_source(source, file, config)
            return
        indices = page_indices(file, repr(source.uri))
        if len(indices) > 1:
            yield from _page_chunks(source, file, indices, config)
        else:
            frame, metadata = decode(file, repr(source.uri), config.image_side_px, config.image_detail_px, indices[0])
            yield Chunk(source, "image", frames=(frame,), metadata=metadata)


def read_frames(uri: str, locator: Locator, metadata: Mapping[str, Any], config: ChunkingConfig) -> tuple[Frame, ...]:
    """Read an indexed image, page or clip again from the uri of its source, which may be a URL or a member."""
    with _opened(uri) as file:
        if locator.start_s is not None:
            times_s = metadata.get("keyframes_s") or [locator.start_s]
            return animation.read_frames(file, repr(uri), times_s, config.keyframe_side_px)
        indices, position = page_indices(file, repr(uri)), (locator.page or 1) - 1
        if not 0 <= position < len(indices):
            raise MediaError(f"{uri!r} has {len(indices)} pages, no page {locator.page}")
        return (decode(file, repr(uri), config.image_side_px, config.image_detail_px, indices[position])[0],)


@contextmanager
def _opened(uri: str) -> Iterator[BinaryIO]:
    """Open an image file, or the preview of a camera raw file."""
    with open_uri(uri) as file:
        yield open_preview(file, repr(uri)) if is_camera_raw(uri) else file


def _page_chunks(
    source: Source, file: BinaryIO, indices: Sequence[int], config: ChunkingConfig
) -> Iterator[Chunk | Skipped]:
    """Yield one chunk per page of a scan, and a record for each page that is damaged or beyond the limit."""
    any_page = False
    for number, index in enumerate(indices[:MAX_PAGES], 1):
        place = Locator(page=number)
        try:
            frame, metadata = decode(file, repr(source.uri), config.image_side_px, index=index)
        except MediaError:
            yield Skipped(source.uri, "damaged page", place)
            continue
        any_page = True
        yield Chunk(source, "page", place, frames=(frame,), metadata={"pages": len(indices), **metadata})
    if not any_page:
        raise MediaError(f"{source.uri!r} has no page that can be read")
    if len(indices) > MAX_PAGES:
        yield Skipped(source.uri, f"pages after {MAX_PAGES:,}", Locator(page=MAX_PAGES + 1))
