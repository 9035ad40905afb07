"""The media that are indexed, by the suffix of their files."""

from __future__ import annotations

from collections.abc import Mapping

from florence_rag.sources.io.uris import suffix_of
from florence_rag.types import Media

_SUFFIXES: dict[Media, str] = {
    "image": ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff .heic .heif .hif .avif .mpo",
    "video": ".mp4 .m4v .mov .qt .3gp .mkv .webm .avi",
    "text": ".txt .text .md .markdown .html .htm .xhtml",
    "pdf": ".pdf",
}
MEDIA_BY_SUFFIX: Mapping[str, Media] = {
    suffix: media for media, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
SUBTITLE_SUFFIXES = (".srt", ".vtt")


def media_of(uri: str) -> Media | None:
    """Return the medium that the suffix of a path or URL stands for; None if it stands for none."""
    return MEDIA_BY_SUFFIX.get(suffix_of(uri))
