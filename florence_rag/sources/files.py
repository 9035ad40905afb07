"""Finds the media files below folders and tells which of them changed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from florence_rag.types import Failure, Media, Source

_SUFFIXES: dict[Media, str] = {
    "image": ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff .heic .heif .hif .avif .mpo",
    "video": ".mp4 .m4v .mov .qt .3gp .mkv .webm .avi",
    "text": ".txt .text .md .markdown .html .htm .xhtml",
    "pdf": ".pdf",
}
MEDIA_BY_SUFFIX: Mapping[str, Media] = {
    suffix: media for media, suffixes in _SUFFIXES.items() for suffix in suffixes.split()
}
SUBTITLES = (".srt", ".vtt")


def discover(places: Iterable[str], known: Mapping[str, Source]) -> Iterator[Source | Failure]:
    """Every media file among the places and below the folders among them, sorted by path, each once.

    places: absolute paths. Hidden files and files of unknown kind are passed over in folders. A file of the size and
    time of its record in `known` is not read; its record is given back.
    """
    found = _collect(map(Path, places))
    return (_inspect(uri, finding, known) for uri, finding in sorted(found.items()))


def _collect(named: Iterable[Path]) -> dict[str, Media | Failure]:
    """uri -> medium, or why there is none. A folder is entered once, by whatever links it is reached."""
    found: dict[str, Media | Failure] = {}
    entered: set[Path] = set()
    for path in named:
        if path.is_dir():
            _collect_folder(path, found, entered)
        else:
            found[str(path)] = MEDIA_BY_SUFFIX.get(path.suffix.lower()) or _unknown(path)
    return found


def _collect_folder(top: Path, found: dict[str, Media | Failure], entered: set[Path]) -> None:
    def report(error: OSError) -> None:
        found[error.filename] = Failure(error.filename, f"the folder cannot be read: {error.strerror}")

    for name, folders, files in os.walk(top, onerror=report, followlinks=True):
        folder = Path(name).resolve()
        if folder in entered:
            folders.clear()
            continue
        entered.add(folder)
        folders[:] = [child for child in folders if not child.startswith(".")]
        for file in files:
            media = MEDIA_BY_SUFFIX.get(os.path.splitext(file)[1].lower())
            if media and not file.startswith("."):
                found[str(folder / file)] = media


def _unknown(path: Path) -> Failure:
    if path.suffix.lower() in SUBTITLES:
        return Failure(str(path), "subtitles are read together with the video of the same name")
    known = ", ".join(suffix.lstrip(".") for suffix in MEDIA_BY_SUFFIX)
    return Failure(str(path), f"files ending in {path.suffix!r} are of no known kind; known are {known}")


def _inspect(uri: str, media: Media | Failure, known: Mapping[str, Source]) -> Source | Failure:
    if isinstance(media, Failure):
        return media
    printable = uri.encode("utf-8", "backslashreplace").decode()
    if printable != uri:
        return Failure(printable, "the name of the file is not valid UTF-8; rename it")
    try:
        return _read_record(uri, media, known.get(uri))
    except OSError as error:
        return Failure(uri, f"the file cannot be read: {error.strerror}")


def _read_record(uri: str, media: Media, before: Source | None) -> Source | Failure:
    """The subtitles of a video count as a part of it, so that the video is indexed again when they change."""
    parts = [uri, *(_subtitles(uri) if media == "video" else ())]
    facts = [os.stat(part) for part in parts]
    if not stat.S_ISREG(facts[0].st_mode):
        return Failure(uri, "this is not a regular file")
    if facts[0].st_size == 0:
        return Failure(uri, "the file is empty (0 bytes)")
    size_bytes, modified_ns = sum(fact.st_size for fact in facts), max(fact.st_mtime_ns for fact in facts)
    if before and (before.size_bytes, before.modified_ns) == (size_bytes, modified_ns):
        return before
    return Source(uri, media, size_bytes, modified_ns, _digest(parts))


def _subtitles(video: str) -> list[str]:
    beside = (os.path.splitext(video)[0] + suffix for suffix in SUBTITLES)
    return [path for path in beside if os.path.isfile(path)][:1]


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        with open(part, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
