"""Stage 1: where media come from: files, folders, patterns, lists, URLs, tars, tables."""

from florence_rag.sources.discovery import discover
from florence_rag.sources.files import MEDIA_BY_SUFFIX
from florence_rag.sources.paths import (
    SourceUnavailable,
    check_there,
    exists,
    inside,
    place_of,
    places_listed,
    places_named,
)

__all__ = [
    "MEDIA_BY_SUFFIX",
    "SourceUnavailable",
    "check_there",
    "discover",
    "exists",
    "inside",
    "place_of",
    "places_listed",
    "places_named",
]
