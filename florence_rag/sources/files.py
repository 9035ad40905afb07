"""Finds the media files below folders and reports which of them changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from florence_rag.sources.io.remote_stat import FileStat
from florence_rag.sources.io.uris import MEDIA_BY_SUFFIX, SUBTITLE_SUFFIXES, media_of, suffix_of
from florence_rag.sources.records import hash_content, inspect, make_record
from florence_rag.types import Failure, Media, Source


def find_files(paths: Iterable[str], known: Mapping[str, Source]) -> Iterator[Source | Failure]:
    """Yield each media file among absolute paths and below the folders among them once, sorted by path.

    Folders are searched without hidden files and files of unknown kinds.
    """
    found: dict[str, Media | Failure] = {}
    visited: set[Path] = set()
    for path in paths:
        if os.path.isdir(path):
            _search_folder(path, found, visited)
        else:
            found[path] = media_of(path) or _unknown_kind(path)
    return (inspect(path, partial(_read_record, path, media, known)) for path, media in sorted(found.items()))


def subtitles_of(video: str) -> str | None:
    """Return the path of the subtitle file next to a video, if there is one."""
    paths = (os.path.splitext(video)[0] + suffix for suffix in SUBTITLE_SUFFIXES)
    return next(filter(os.path.isfile, paths), None)


def hash_files(paths: Iterable[str]) -> str:
    """Return the hash of the bytes of some files on this machine."""
    return hash_content(open(path, "rb") for path in paths)


def _search_folder(top: str, found: dict[str, Media | Failure], visited: set[Path]) -> None:
    """Add the media files below a folder to found. A folder that several links reach is visited once."""

    def report(error: OSError) -> None:
        found[error.filename] = Failure(error.filename, f"the folder cannot be read: {error.strerror}")

    for name, folders, files in os.walk(top, onerror=report, followlinks=True):
        folder = Path(name).resolve()
        if folder in visited:
            folders.clear()
            continue
        visited.add(folder)
        folders[:] = [child for child in folders if not child.startswith(".")]
        for file in files:
            if (media := media_of(file)) and not file.startswith("."):
                found[str(folder / file)] = media


def _unknown_kind(path: str) -> Failure:
    suffix = suffix_of(path)
    if suffix in SUBTITLE_SUFFIXES:
        return Failure(path, "subtitles are read together with the video of the same name")
    known = ", ".join(suffix.lstrip(".") for suffix in MEDIA_BY_SUFFIX)
    return Failure(path, f"files ending in {suffix!r} are of no known kind; known are {known}")


def _read_record(path: str, media: Media | Failure, known: Mapping[str, Source]) -> Source | Failure:
    """Return the record of a file. A video is indexed again when its subtitles change."""
    if isinstance(media, Failure):
        return media
    subtitles = subtitles_of(path) if media == "video" else None
    parts = [path, subtitles] if subtitles else [path]
    stats = [os.stat(part) for part in parts]
    if not stat.S_ISREG(stats[0].st_mode):
        return Failure(path, "this is not a regular file")
    if stats[0].st_size == 0:
        return Failure(path, "the file is empty (0 bytes)")
    total = FileStat(sum(each.st_size for each in stats), max(each.st_mtime_ns for each in stats))
    return make_record(path, media, total, known, lambda: hash_files(parts))
