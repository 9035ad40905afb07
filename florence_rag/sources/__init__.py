"""Stage 1: finds media in files, folders, patterns, lists, URLs, tars and tables."""

from florence_rag.sources.discovery import discover
from florence_rag.sources.io.uris import MEDIA_BY_SUFFIX
from florence_rag.sources.paths import (
    Places,
    exists,
    expand_lines,
    expand_paths,
    path_to_uri,
    prefixes_below,
    require_paths,
    uri_prefixes,
)
from florence_rag.sources.records import SourceUnavailable
from florence_rag.sources.subtitles import SubtitleSearch, language_of, parse_language

__all__ = [
    "MEDIA_BY_SUFFIX",
    "Places",
    "SourceUnavailable",
    "SubtitleSearch",
    "discover",
    "exists",
    "expand_lines",
    "expand_paths",
    "language_of",
    "parse_language",
    "path_to_uri",
    "prefixes_below",
    "require_paths",
    "uri_prefixes",
]
