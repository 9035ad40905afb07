"""Finds the subtitle files of videos by their names: next to the video, or in a folder such as "Subs"."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from unicodedata import normalize

from florence_rag.sources.io.uris import SUBTITLE_SUFFIXES, media_of, suffix_of

_FOLDERS = frozenset(("sub", "subs", "subtitle", "subtitles", "captions"))
_LANGUAGE = re.compile(r"(?<![^\W_])([a-z]+)(?:[-_]([a-z]{2}|[a-z]{4}))?(?![^\W_])")
_HEARING_IMPAIRED = "hi"  # also the code of Hindi

Videos = Mapping[str, set[str]]
"""The videos of a folder: their paths by their names, with and without the suffix."""


class SubtitleSearch:
    """Finds the subtitle files of many videos; the last folders are read once."""

    def __init__(self) -> None:
        self._videos_in = lru_cache(maxsize=64)(_videos_in)
        self._by_video = lru_cache(maxsize=64)(self._by_video_in)

    def of_video(self, video: str) -> list[str]:
        """Return the subtitle files of a video, sorted by path."""
        return self._by_video(os.path.dirname(video)).get(video, [])

    def videos_of(self, subtitles: str) -> set[str]:
        """Return the videos that a subtitle file belongs to by its name, even if it was deleted."""
        folder = os.path.dirname(subtitles)
        tops = [folder, *folders_served_by(folder)]
        return {video for top in tops for video in _owners(subtitles, top, self._videos_in(top))}

    def _by_video_in(self, folder: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        if videos := self._videos_in(folder):
            for path in sorted(_subtitle_files(folder)):
                for video in _owners(path, folder, videos):
                    found[video].append(path)
        return found


def folders_served_by(folder: str) -> list[str]:
    """Return the folders whose videos may have subtitles in a folder such as ".../Subs" or ".../Subs/film"."""
    return [os.path.dirname(each) for each in (folder, os.path.dirname(folder)) if _is_subtitle_folder(each)]


def language_of(subtitles: str, video: str) -> str:
    """Return the language in the name of a subtitle file, such as "en" or "pt-BR"; "" without one."""
    return parse_language(_key(_stem(subtitles)).removeprefix(_key(_stem(video))))


def parse_language(tags: str) -> str:
    """Return the first language in a text such as "eng", "en-US.forced" or "2_English" as BCP 47 writes it, or ""."""
    found = filter(None, (_language(match[1], match[2]) for match in _LANGUAGE.finditer(tags.lower())))
    languages = list(dict.fromkeys(found))
    return next((each for each in languages if each != _HEARING_IMPAIRED), "".join(languages))


def _language(word: str, region: str | None) -> str:
    from babelfish import Error, Language

    for kind in ("alpha2", "alpha3b", "alpha3t") if len(word) <= 3 else ("name",):
        with suppress(Error):
            code = str(Language.fromcode(word, kind).alpha2)
            with suppress(ValueError):  # the second part is no region or script
                return str(Language.fromietf(f"{code}-{region}")) if region else code
            return code
    return ""


def _owners(path: str, folder: str, videos: Videos) -> set[str]:
    """Return the videos of a folder that a subtitle file in or below it belongs to: those with the longest name."""
    *inner, _ = os.path.relpath(path, folder).split(os.sep)
    name = _key(_stem(path))
    for end in range(len(name), 0, -1):
        if owners := videos.get(name[:end]):
            tags = name[end:]
            if tags[:1] in ("", ".") or (tags[0] in " _-([" and parse_language(tags)):
                return owners
    if len(inner) == 2:
        return videos.get(_key(inner[1]), set())
    of_folder = set[str]().union(*videos.values())
    return of_folder if inner and len(of_folder) == 1 else set()


def _videos_in(folder: str) -> Videos:
    videos: dict[str, set[str]] = defaultdict(set)
    for entry in _visible(folder):
        if media_of(entry.name) == "video":
            for name in (entry.name, _stem(entry.name)):
                videos[_key(name)].add(os.path.join(folder, entry.name))
    return dict(videos)


def _subtitle_files(folder: str, depth: int = 2) -> Iterator[str]:
    """Yield the subtitle files in a folder, in its folders of subtitles, and in their folders, one for each video."""
    for entry in _visible(folder):
        if entry.is_dir(follow_symlinks=False):
            if depth == 1 or (depth == 2 and _is_subtitle_folder(entry.name)):
                yield from _subtitle_files(entry.path, depth - 1)
        elif suffix_of(entry.name) in SUBTITLE_SUFFIXES and _stays_in(folder, entry):
            yield entry.path


def _is_subtitle_folder(path: str) -> bool:
    return os.path.basename(path).lower() in _FOLDERS


def _stays_in(folder: str, entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is no link that leads out of its folder, to a file that nobody asked to read."""
    return not entry.is_symlink() or os.path.dirname(os.path.realpath(entry)) == os.path.realpath(folder)


def _visible(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder or ".") as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:  # the search reports a folder that cannot be read
        return []


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _key(name: str) -> str:
    """Return a name as macOS, Windows and Linux agree on: they compose characters and compare cases differently."""
    return normalize("NFC", name).casefold()
