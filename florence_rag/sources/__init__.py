"""Stage 1: finds media in files, folders, patterns, lists, URLs, tars and tables."""

from florence_rag.sources.discovery import discover, subtitles_of
from florence_rag.sources.io.uris import MEDIA_BY_SUFFIX
from florence_rag.sources.paths import (
    Places,
    exists,
    expand_lines,
    expand_paths,
    path_to_uri,
    require_paths,
    uri_prefixes,
)
from florence_rag.sources.records import SourceUnavailable

__all__ = [
    "MEDIA_BY_SUFFIX",
    "Places",
    "SourceUnavailable",
    "discover",
    "exists",
    "expand_lines",
    "expand_paths",
    "path_to_uri",
    "require_paths",
    "subtitles_of",
    "uri_prefixes",
]
